# Orthanc, HTTPS before it, and a door to the status page of the worker, which shares this network.
set -e
stunnel /etc/orthanc/stunnel.conf &
socat TCP-LISTEN:8091,fork,reuseaddr TCP:127.0.0.1:8090 &
exec Orthanc /etc/orthanc/orthanc.json

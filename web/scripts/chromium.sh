#!/bin/sh
# Makes sure that there is a Chromium for the browser tests, and prints where: $CHROMIUM, the system's, or Debian's package.
set -eu
found="${CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)}"
if [ -z "$found" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "installing Debian's chromium for the browser tests" >&2
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium; } >&2
  found="$(command -v chromium)"
fi
if [ -z "$found" ]; then
  echo "the browser tests need Chromium: install it, or name one with CHROMIUM=/path/to/chromium" >&2
  exit 1
fi
echo "$found"

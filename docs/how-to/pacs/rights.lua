-- The worker's account may query, retrieve, store and read the feed of changes; it may not delete, change or administer.
function IncomingHttpRequestFilter(method, uri, ip, username, httpHeaders)
  if username ~= 'pocketcxr' then
    return true
  end
  if method == 'GET' then
    return string.find(uri, '^/dicom%-web/studies') ~= nil
      or uri == '/changes'
      or string.find(uri, '^/instances/[0-9a-f%-]+/study$') ~= nil
  end
  return method == 'POST' and uri == '/dicom-web/studies'
end

-- Sends the worker's results, and nothing else, to the modality "pacs", one by one as they are stored.
function OnStoredInstance(id, tags, metadata)
  if tags['Manufacturer'] == 'pocketcxr founders' then
    SendToModality(id, 'pacs')
  end
end

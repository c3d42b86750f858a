/** Files of a drop of files and folders; whatever cannot be read gets an answer too. */

const FOLDER_DEPTH = 32; // a guard against loops of links, deeper than any archive

/** Files of a drop, those in dropped folders too. */
export async function dropped(transfer: DataTransfer): Promise<File[]> {
  const entries = [...transfer.items].map((item) => (item.kind === "file" ? item.webkitGetAsEntry() : null));
  const plain = [...transfer.files];
  if (!entries.some((entry) => entry?.isDirectory)) return plain;
  const found = await Promise.all(entries.map((entry) => (entry ? filesOf(entry, FOLDER_DEPTH) : [])));
  return found.flat();
}

async function filesOf(entry: FileSystemEntry, depth: number): Promise<File[]> {
  if (entry.isFile) {
    if (entry.name.startsWith(".")) return [];
    const file = await new Promise<File | null>((resolve) =>
      (entry as FileSystemFileEntry).file(resolve, () => resolve(null)),
    );
    return [file ?? unread(entry)];
  }
  if (depth === 0) return [unread(entry)];
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  const found: File[] = [];
  for (;;) {
    const batch = await new Promise<FileSystemEntry[] | null>((resolve) =>
      reader.readEntries(resolve, () => resolve(null)),
    );
    if (!batch) return [...found, unread(entry)];
    if (batch.length === 0) return found; // readEntries answers in batches until an empty one
    for (const child of batch) found.push(...(await filesOf(child, depth - 1)));
  }
}

/** What cannot be read gets an answer of its own, as an empty file does, and is not lost in silence. */
function unread(entry: FileSystemEntry): File {
  return new File([], entry.name);
}

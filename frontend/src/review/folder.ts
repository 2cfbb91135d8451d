/** Dropped files and folders as one archive, since a document's other files come along with it. */

/** A file that was dropped, and its path below what was dropped. */
export interface Dropped {
  path: string;
  file: File;
}

/** What the page does not read into memory for one import; the server has limits of its own. */
export const MOST_FILES = 20_000;

const DOCUMENT = /\.(json|ya?ml)$/i;
const BLOCK = 512;

/** Folders and files were dropped of which no import can be made. The text is for people. */
export class NotADocument extends Error {}

/** Whether one file was dropped, which is sent as it is. */
export function single(entries: readonly FileSystemEntry[]): boolean {
  return entries.length === 1 && entries[0]?.isFile === true;
}

/** The JSON and YAML files among `entries` and in all their folders; hidden ones are left out. */
export async function filesIn(entries: readonly FileSystemEntry[]): Promise<Dropped[]> {
  const found: Dropped[] = [];
  const waiting = [...entries];
  for (let entry = waiting.pop(); entry !== undefined; entry = waiting.pop()) {
    if (entry.name.startsWith(".") || entry.name === "node_modules") continue;
    if (entry.isDirectory) waiting.push(...(await inside(entry as FileSystemDirectoryEntry)));
    else if (DOCUMENT.test(entry.name)) {
      if (found.length === MOST_FILES)
        throw new NotADocument(`There are more than ${MOST_FILES} documents in it.`);
      found.push({
        path: entry.fullPath.replace(/^\//, ""),
        file: await opened(entry as FileSystemFileEntry),
      });
    }
  }
  if (found.length === 0) throw new NotADocument("There is no JSON or YAML file in it.");
  return found.sort((one, other) => (one.path < other.path ? -1 : 1));
}

async function inside(folder: FileSystemDirectoryEntry): Promise<FileSystemEntry[]> {
  const reader = folder.createReader();
  const found: FileSystemEntry[] = [];
  // A browser gives some at a time, until it gives none.
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) =>
      reader.readEntries(resolve, reject),
    );
    if (some.length === 0) return found;
    found.push(...some);
    if (found.length > MOST_FILES) return found;
  }
}

function opened(entry: FileSystemFileEntry): Promise<File> {
  return new Promise((resolve, reject) => entry.file(resolve, reject));
}

/** The files as a TAR archive (POSIX.1-1988, "ustar"), not compressed. */
export function archiveOf(files: readonly Dropped[], name: string): File {
  const parts: BlobPart[] = files.flatMap(({ path, file }) => [
    header(path, file.size),
    file,
    new Uint8Array((BLOCK - (file.size % BLOCK)) % BLOCK),
  ]);
  return new File([...parts, new Uint8Array(2 * BLOCK)], `${name}.tar`, {
    type: "application/x-tar",
  });
}

function header(path: string, size: number): Uint8Array<ArrayBuffer> {
  const block = new Uint8Array(BLOCK);
  const put = (at: number, text: string | Uint8Array) =>
    block.set(typeof text === "string" ? new TextEncoder().encode(text) : text, at);
  const octal = (value: number, digits: number) => value.toString(8).padStart(digits, "0");
  const [prefix, rest] = split(new TextEncoder().encode(path), path);
  put(0, rest);
  put(100, "0000644\0");
  put(108, "0000000\0");
  put(116, "0000000\0");
  put(124, `${octal(size, 11)}\0`);
  put(136, `${octal(0, 11)}\0`);
  put(148, " ".repeat(8)); // the sum is taken with blanks in its own place
  put(156, "0");
  put(257, "ustar\x0000");
  put(345, prefix);
  const sum = block.reduce((total, byte) => total + byte, 0);
  put(148, `${octal(sum, 6)}\0 `);
  return block;
}

/** A path in the two fields that there are for it: at most 155 bytes, a slash, at most 100. */
function split(bytes: Uint8Array, path: string): [Uint8Array, Uint8Array] {
  if (bytes.length <= 100) return [new Uint8Array(), bytes];
  for (let at = bytes.length - 101; at <= Math.min(155, bytes.length - 2); at += 1)
    if (bytes[at] === 0x2f) return [bytes.slice(0, at), bytes.slice(at + 1)];
  throw new NotADocument(`The path ${path} is too long for an archive.`);
}

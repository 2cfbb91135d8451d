/** Files and folders as a browser gives them when they are dropped. */

const BATCH = 100;

export function entryOf(name: string, words: string): FileSystemEntry {
  return {
    name,
    fullPath: `/${name}`,
    isFile: true,
    isDirectory: false,
    file: (resolve: (file: File) => void) => resolve(new File([words], name)),
  } as unknown as FileSystemEntry;
}

export function folderOf(name: string, inside: FileSystemEntry[]): FileSystemEntry {
  const below = (entry: FileSystemEntry): FileSystemEntry => {
    const moved = { ...entry, fullPath: `/${name}${entry.fullPath}` };
    if (!entry.isDirectory) return moved;
    const held = (entry as unknown as { held: FileSystemEntry[] }).held.map(below);
    return { ...moved, ...reading(held) } as FileSystemEntry;
  };
  const held = inside.map(below);
  return {
    name,
    fullPath: `/${name}`,
    isFile: false,
    isDirectory: true,
    ...reading(held),
  } as unknown as FileSystemEntry;
}

function reading(held: FileSystemEntry[]) {
  return {
    held,
    createReader: () => {
      let from = 0;
      return {
        readEntries: (resolve: (some: FileSystemEntry[]) => void) => {
          resolve(held.slice(from, from + BATCH));
          from += BATCH;
        },
      };
    },
  };
}

/** Drop these on an element. */
export function drop(target: Element, entries: FileSystemEntry[], files: File[] = []): void {
  const event = new Event("drop", { bubbles: true, cancelable: true });
  const items = entries.map((entry) => ({ webkitGetAsEntry: () => entry }));
  Object.defineProperty(event, "dataTransfer", { value: { items, files } });
  target.dispatchEvent(event);
}

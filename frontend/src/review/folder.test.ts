import { describe, expect, test } from "vitest";
import { entryOf, folderOf } from "../../tests-support/dropped";
import { archiveOf, filesIn, NotADocument, single } from "./folder";

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes).replace(/\0.*$/s, "");

/** What an archive holds, as any reader of TAR sees it. */
async function contents(archive: File): Promise<Record<string, string>> {
  const bytes = new Uint8Array(await archive.arrayBuffer());
  const found: Record<string, string> = {};
  let at = 0;
  while (bytes[at] !== 0) {
    const block = bytes.slice(at, at + 512);
    const sum = Number.parseInt(text(block.slice(148, 156)), 8);
    block.fill(0x20, 148, 156);
    expect(block.reduce((total, byte) => total + byte, 0)).toBe(sum);
    expect(text(block.slice(257, 263))).toBe("ustar");
    const prefix = text(block.slice(345, 500));
    const size = Number.parseInt(text(block.slice(124, 136)), 8);
    const name = text(block.slice(0, 100));
    found[prefix ? `${prefix}/${name}` : name] = text(bytes.slice(at + 512, at + 512 + size));
    at += 512 + Math.ceil(size / 512) * 512;
  }
  expect(bytes.length - at).toBe(1024);
  return found;
}

describe("a dropped folder", () => {
  test("gives its documents, however deep, and nothing else of it", async () => {
    const folder = folderOf("shop", [
      entryOf("openapi.yaml", "openapi: 3.1.0"),
      entryOf("readme.md", "#"),
      entryOf(".hidden.json", "{}"),
      folderOf("paths", [entryOf("orders.json", "{}"), folderOf(".git", [entryOf("x.json", "")])]),
      folderOf("node_modules", [entryOf("package.json", "{}")]),
    ]);

    const found = await filesIn([folder]);

    expect(found.map(({ path }) => path)).toEqual(["shop/openapi.yaml", "shop/paths/orders.json"]);
  });

  test("is read to its end where the browser gives its entries some at a time", async () => {
    const many = Array.from({ length: 250 }, (_, n) => entryOf(`${n}.json`, "{}"));

    expect(await filesIn([folderOf("many", many)])).toHaveLength(250);
  });

  test("without a document is refused in words", async () => {
    await expect(filesIn([folderOf("none", [entryOf("a.md", "")])])).rejects.toThrow(NotADocument);
  });

  test("is not one file, which is sent as it is", () => {
    const file = entryOf("a.json", "{}");

    expect(single([file])).toBe(true);
    expect(single([file, file])).toBe(false);
    expect(single([folderOf("a", [])])).toBe(false);
  });
});

describe("an archive", () => {
  const dropped = (path: string, words: string) => ({ path, file: new File([words], "x") });

  test("holds each file whole, under its path", async () => {
    const long = `${"deep/".repeat(30)}${"n".repeat(90)}.yaml`;
    const files = [
      dropped("a.json", "{}"),
      dropped("empty.json", ""),
      dropped("block.yaml", "x".repeat(512)),
      dropped("größe/é.yaml", "é".repeat(300)),
      dropped(long, "deep"),
    ];

    const archive = archiveOf(files, "shop");

    expect(archive.name).toBe("shop.tar");
    expect(archive.size % 512).toBe(0);
    expect(await contents(archive)).toEqual({
      "a.json": "{}",
      "empty.json": "",
      "block.yaml": "x".repeat(512),
      "größe/é.yaml": "é".repeat(300),
      [long]: "deep",
    });
  });

  test("cannot hold a path that no archive holds", () => {
    expect(() => archiveOf([dropped("n".repeat(101), "")], "shop")).toThrow(NotADocument);
  });
});

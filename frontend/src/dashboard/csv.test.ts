import { describe, expect, test } from "vitest";
import { seeded } from "../../tests-support/logs";
import { type Cell, csvOf } from "./csv";

/** A reader by RFC 4180, written apart from the writer. */
function read(text: string): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  let place = 0;
  while (place < text.length) {
    const quoted = /^"((?:[^"]|"")*)"/.exec(text.slice(place));
    const plain = /^[^",\r\n]*/.exec(text.slice(place));
    row.push(quoted ? (quoted[1] ?? "").replaceAll('""', '"') : (plain?.[0] ?? ""));
    place += (quoted ?? plain)?.[0].length ?? 0;
    if (text.startsWith(",", place)) place += 1;
    else if (text.startsWith("\r\n", place)) {
      rows.push(row);
      row = [];
      place += 2;
    } else throw new Error(`neither comma nor end of line at ${place}`);
  }
  return rows;
}

describe("CSV", () => {
  test("separates by commas and ends every row in CRLF", () => {
    expect(
      csvOf([
        ["a", 1.5, null],
        ["b", -2, "c d"],
      ]),
    ).toBe("a,1.5,\r\nb,-2,c d\r\n");
  });

  test.each(["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =HYPERLINK(1)", "\n=1", "＝1+1"])(
    "shows %j as text instead of calculating it",
    (text) => {
      expect(read(csvOf([[text]]))).toEqual([[`'${text}`]]);
    },
  );

  test("leaves numbers and harmless texts alone", () => {
    expect(csvOf([[-5, 0, "GET /orders", "a=b", "Grüße 📦"]])).toBe(
      "-5,0,GET /orders,a=b,Grüße 📦\r\n",
    );
  });

  test("reads back as it was written, whatever is in the cells", () => {
    const random = seeded(7);
    const pieces = ["a", '"', ",", "\r\n", "\n", " ", "é", "😀", "=", "-"];
    for (let round = 0; round < 300; round += 1) {
      const rows: Cell[][] = Array.from({ length: 1 + Math.floor(random() * 3) }, () =>
        Array.from({ length: 2 }, () =>
          Array.from(
            { length: 1 + Math.floor(random() * 5) },
            () => pieces[Math.floor(random() * pieces.length)],
          ).join(""),
        ),
      );

      const back = read(csvOf(rows)).map((row) => row.map((text) => text.replace(/^'/, "")));

      expect(back).toEqual(rows);
    }
  });
});

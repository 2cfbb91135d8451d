import { describe, expect, test } from "vitest";
import { before, dashboardSearch, dayOf, PRESETS, type Preset, type Range, rangeOf } from "./range";

const NOW = Date.parse("2026-11-23T19:20:00Z");
const HOUR = 3_600_000;

const hours = ({ start, end }: { start: string; end: string }) =>
  (Date.parse(end) - Date.parse(start)) / HOUR;
const found = (search: Parameters<typeof rangeOf>[0]) => rangeOf(search, NOW) as Range;

describe("the range", () => {
  test.each(Object.entries(PRESETS))(
    "of %s has that length and ends with this hour",
    (name, days) => {
      const range = found({ range: name as Preset });

      expect(hours(range)).toBe(days * 24);
      expect(range.end).toBe("2026-11-23T20:00:00Z");
      expect(range.bucket).toBe(days < 3 ? "hour" : "day");
    },
  );

  test("is seven days if the address says nothing", () => {
    expect(found({})).toEqual(found({ range: "7d" }));
  });

  test("of days has both of them in it, whatever the time zone", () => {
    const range = found({ from: "2026-11-01", to: "2026-11-03" });

    expect(new Date(range.start).getTime()).toBe(new Date(2026, 10, 1).getTime());
    expect(new Date(range.end).getTime()).toBe(new Date(2026, 10, 4).getTime());
    expect([dayOf(range.start), dayOf(range.end)]).toEqual(["2026-11-01", "2026-11-04"]);
  });

  test("that ends before it begins is refused in words", () => {
    const refused = rangeOf({ from: "2026-11-03", to: "2026-11-02" }, NOW);

    expect(refused).toEqual({ wrong: expect.stringContaining("ends before it begins") });
    expect(rangeOf({ from: "2026-11-03", to: "2026-11-03" }, NOW)).not.toHaveProperty("wrong");
  });

  test.each([
    ["", "2026-11-01"],
    ["2026-02-31", "2026-11-01"],
    ["yesterday", "2026-11-01"],
    ["2026-11-01", "1999-11-01"],
    ["2026-11-01", undefined],
  ])("of %s to %s is no range", (from, to) => {
    expect(rangeOf({ from, to }, NOW)).toEqual({ wrong: "Choose a first and a last day." });
  });

  test.each([{}, { range: "90d" as const }, { from: "2026-03-01", to: "2026-03-31" }])(
    "%o is compared with the one of its length before it",
    (search) => {
      const range = found(search);
      const previous = before(range);

      expect(previous.end).toBe(range.start);
      expect(hours(previous)).toBe(hours(range));
    },
  );
});

describe("the address", () => {
  test.each([
    [{ range: "30d" }, { range: "30d" }],
    [{ range: "7d" }, {}],
    [{ range: "constructor", other: 1 }, {}],
    [
      { from: "2026-11-01", to: "2026-11-02", range: "24h" },
      { from: "2026-11-01", to: "2026-11-02" },
    ],
    [{ from: 2026 }, { from: "2026", to: "" }],
  ])("%o means %o", (search, meant) => {
    expect(dashboardSearch(search)).toEqual(meant);
  });
});

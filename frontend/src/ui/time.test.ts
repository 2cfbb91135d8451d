import { expect, test } from "vitest";
import { ago, duration, plural } from "./time";

test.each([
  [0, "0 ms"],
  [0.4, "< 1 ms"],
  [740.2, "740 ms"],
  [999.6, "1.0 s"],
  [4_100, "4.1 s"],
  [59_960, "1 min"],
  [200_000, "3 min 20 s"],
  [3_599_800, "1 h"],
  [7_500_000, "2 h 5 min"],
])("%d ms reads %s", (milliseconds, words) => {
  expect(duration(milliseconds)).toBe(words);
});

test("says how long ago", () => {
  const now = new Date(2026, 10, 23, 18, 0).getTime();
  const before = (minutes: number) => ago(new Date(now - minutes * 60_000).toISOString(), now);

  expect(before(0)).toBe("just now");
  expect(before(5)).toBe("5 min ago");
  expect(before(120)).toBe("16:00");
  expect(before(60 * 24 * 3)).toBe("20 Nov 2026");
});

test("counts", () => {
  expect([0, 1, 1_250].map((count) => plural(count, "step"))).toEqual([
    "0 steps",
    "1 step",
    "1,250 steps",
  ]);
});

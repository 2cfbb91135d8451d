import { describe, expect, test } from "vitest";
import {
  ACTIVITY,
  COHORT,
  POINTS,
  QUIET_ACTIVITY,
  QUIET_COHORT,
} from "../../tests-support/figures";
import {
  type Activity,
  activityMetrics,
  byCount,
  type Cohort,
  cohortMetrics,
  compare,
  isQuiet,
  type Metric,
  rowsOf,
  shown,
} from "./figures";

const metric = (title: string, activity: Activity = ACTIVITY, cohort: Cohort = COHORT): Metric => {
  const every = [...cohortMetrics(cohort), ...activityMetrics(activity)];
  const found = every.find((each) => each.title === title);
  if (found === undefined) throw new Error(`no metric ${title}`);
  return found;
};

describe("a comparison", () => {
  const slower = { ...ACTIVITY, response: { ...ACTIVITY.response, median_ms: 8_000 } };
  const surer = { ...COHORT, auto_resolution_rate: 0.75 };

  test.each([
    ["Response time, median", slower, COHORT, "up", "bad", "100 %"],
    ["Auto-resolution rate", ACTIVITY, surer, "up", "good", "15.0 points"],
    ["Messages", { ...ACTIVITY, messages: 100 }, COHORT, "down", "neutral", "50 %"],
    ["Failed turns", { ...ACTIVITY, failed: 0 }, COHORT, "down", "good", "100 %"],
  ])(
    "of %s is judged by what is good, not by up or down",
    (title, activity, cohort, direction, judgement, words) => {
      expect(compare(metric(title, activity, cohort), metric(title))).toEqual({
        state: "changed",
        direction,
        judgement,
        words,
      });
    },
  );

  test("with nothing is none", () => {
    for (const each of [...cohortMetrics(COHORT), ...activityMetrics(ACTIVITY)]) {
      const then = metric(each.title, QUIET_ACTIVITY, QUIET_COHORT);
      expect(compare(each, then)).toEqual({ state: "none" });
      expect(compare(then, each)).toEqual({ state: "none" });
    }
  });

  test("with a zero that was measured tells the difference itself", () => {
    const then = metric("Retries", { ...ACTIVITY, retries: 0 });

    expect(compare(metric("Retries"), then)).toMatchObject({ words: "9", judgement: "bad" });
  });

  test("of what does not differ to the eye says so", () => {
    const then = metric("Messages", { ...ACTIVITY, messages: 200 });

    expect(compare(metric("Messages"), then)).toEqual({ state: "same" });
    const hair = { ...COHORT, auto_resolution_rate: 0.6001 };
    expect(
      compare(metric("Auto-resolution rate", ACTIVITY, hair), metric("Auto-resolution rate")),
    ).toEqual({
      state: "same",
    });
  });
});

describe("a number", () => {
  test.each([
    [null, "share", "–"],
    [0, "count", "0"],
    [12_345, "count", "12,345"],
    [0.6, "share", "60.0 %"],
    [4_100, "ms", "4.1 s"],
    [0.2512, "ratio", "0.25"],
  ] as const)("%s as %s is shown as %s", (value, unit, text) => {
    expect(shown(value, unit)).toBe(text);
  });

  test("that is quiet everywhere makes a quiet range", () => {
    expect(isQuiet(QUIET_COHORT, QUIET_ACTIVITY)).toBe(true);
    expect(isQuiet(COHORT, QUIET_ACTIVITY)).toBe(false);
    expect(isQuiet(QUIET_COHORT, { ...QUIET_ACTIVITY, messages: 1 })).toBe(false);
  });

  test("stands before the smaller ones", () => {
    expect(byCount({ b: 1, a: 1, c: 5 })).toEqual([
      ["c", 5],
      ["a", 1],
      ["b", 1],
    ]);
  });
});

describe("the rows to download", () => {
  const whole = {
    start: "2026-11-16T20:00:00Z",
    end: "2026-11-23T20:00:00Z",
    cohort: COHORT,
    activity: ACTIVITY,
    cohortBefore: null,
    activityBefore: { ...ACTIVITY, messages: 7 },
    points: POINTS,
  };

  test("hold every number of the screen, and the range", () => {
    const rows = rowsOf(whole);

    const has = (...cells: (string | number | null)[]) =>
      rows.some((row) => cells.every((cell, index) => row[index] === cell));
    expect(has("card", "Messages", "", 200, "count", 7, whole.start, whole.end)).toBe(true);
    expect(has("card", "Conversations", "handled", 50)).toBe(true);
    expect(has("handoff reasons", "handed_off", "customer_request", 8)).toBe(true);
    expect(has("failed turns", "turns_failed", "MODEL_UNAVAILABLE", 2)).toBe(true);
    expect(has("operations", "error_rate", "getOrder", 0.1)).toBe(true);
    expect(has("over time", "opened", "", 40)).toBe(true);
    expect(new Set(rows.map((row) => row.length))).toEqual(new Set([8]));
  });

  test("leave out what could not be loaded", () => {
    const rows = rowsOf({ ...whole, cohort: null, points: null });

    expect(rows.some((row) => row[1] === "Conversations")).toBe(false);
    expect(rows.some((row) => row[1] === "Messages")).toBe(true);
  });
});

import { describe, expect, test } from "vitest";
import { classified, operationOf } from "../../tests-support/review";
import { choices, grouped, groupOf, isWaiting, matches, quotedWords, rowsOf } from "./groups";
import { reviewSearch } from "./search";

const OPERATIONS = Array.from({ length: 10 }, (_, n) => operationOf(n));

describe("groups", () => {
  test.each([
    [0, {}, "reads"],
    [1, {}, "writes"],
    [3, {}, "sensitive"],
    [4, {}, "doubtful"],
    [1, { classification: classified() }, "doubtful"],
    [0, { state: "approved" }, "approved"],
    [3, { state: "rejected" }, "rejected"],
    [3, { state: "changed" }, "changed"],
  ] as const)("operation %i with %j is among the %s", (n, more, group) => {
    expect(groupOf(operationOf(n, more))).toBe(group);
  });

  test("hold every operation once", () => {
    const all = grouped(OPERATIONS, {}).flatMap(({ operations }) => operations);

    expect(new Set(all)).toEqual(new Set(OPERATIONS));
    expect(all).toHaveLength(OPERATIONS.length);
  });

  test("are followed by their operations, and left out when empty", () => {
    const groups = grouped(OPERATIONS, {});

    const rows = rowsOf(groups, undefined);

    expect(rows.filter(({ kind }) => kind === "group")).toHaveLength(4);
    expect(rows.flatMap((row) => (row.kind === "operation" ? [row.position] : []))).toEqual(
      OPERATIONS.map((_, n) => n + 1),
    );
    expect(rowsOf(groups, "sensitive")).toHaveLength(3);
    expect(rowsOf(groups, "changed")).toEqual([]);
  });
});

test.each([
  [{ query: "THINGS/3 refunds" }, ["POST /things/3/refunds"]],
  [{ query: "number 7" }, ["GET /things/7/history"]],
  [{ access: "write", tag: "odd", risk: "medium" }, ["POST /things/1", "GET /things/9/cancel"]],
  [{ agent: "nobody" }, []],
  [{ state: "approved" }, []],
] as const)("the filter %j finds %j", (filter, keys) => {
  const found = OPERATIONS.filter((operation) => matches(operation, filter));

  expect(found.map(({ key }) => key)).toEqual(keys);
});

test("what waits is what nobody has decided, or what has changed since", () => {
  const states = ["pending", "changed", "approved", "rejected"] as const;

  expect(states.filter((state) => isWaiting(operationOf(0, { state })))).toEqual([
    "pending",
    "changed",
  ]);
});

test("there is each tag and each agent to choose, once", () => {
  expect(choices(OPERATIONS)).toEqual({ tags: ["even", "odd"], agents: ["support"] });
});

test("the words to be marked are those that the reasons quote", () => {
  expect(quotedWords(["It concerns money (“refund”).", "“issue” and “ticket”.", "None."])).toEqual([
    "refund",
    "issue",
    "ticket",
  ]);
});

test("an address says nothing that does not exist", () => {
  const search = { group: "melted", state: "approved", access: 3, risk: null, query: 12, op: "" };

  expect(reviewSearch({ ...search, open: "yes", more: 1 })).toEqual({
    state: "approved",
    query: "12",
  });
});

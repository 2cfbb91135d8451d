import { expect, test } from "vitest";
import { leavesOf, typed, withLeaf } from "./arguments";

const ARGUMENTS = {
  order_id: "1002",
  body: { amount: 20, items: [{ id: "a", gift: true }], no: null },
};

test("finds every single value, in order, by the name that people read", () => {
  expect(leavesOf(ARGUMENTS).map(({ name, value }) => [name, value])).toEqual([
    ["order_id", "1002"],
    ["amount", 20],
    ["items.0.id", "a"],
    ["items.0.gift", true],
  ]);
});

test("changes one and leaves the rest as it is", () => {
  expect(withLeaf(ARGUMENTS, ["body", "items", "0", "id"], "b")).toEqual({
    order_id: "1002",
    body: { amount: 20, items: [{ id: "b", gift: true }], no: null },
  });
  expect(ARGUMENTS.body.items[0]?.id).toBe("a");
});

test("keeps the kind of what was there", () => {
  expect(typed(20, "15,5")).toBe(15.5);
  expect(typed(20, "much")).toBeNull();
  expect(typed(20, "")).toBeNull();
  expect(typed("20", "15")).toBe("15");
  expect(typed(true, "false")).toBe(false);
});

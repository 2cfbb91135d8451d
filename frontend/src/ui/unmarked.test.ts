import { expect, test } from "vitest";
import { unmarked } from "./unmarked";

test.each([
  ["On **its** `way`", "On its way"],
  ["# Title\n\n- one\n- two", "Title one two"],
  ["see [the carrier](https://example.com/x) ![map](m.png)", "see the carrier map"],
  ["| Step | When |\n|---|---|\n| Packed | 21 Nov |", "Step When Packed 21 Nov"],
  ["order_id stays, 3 - 2 too", "order_id stays, 3 - 2 too"],
  ["", ""],
])("%j is said as %j", (markdown, words) => {
  expect(unmarked(markdown)).toBe(words);
});

import { expect, test } from "vitest";
import { randomTimeline, seeded, THREAD } from "../tests-support/logs";
import { framesOf } from "../tests-support/wire";
import type { ReplayEvent } from "./api/client";
import { emptyTranscript, receive } from "./chat/transcript";
import { asSeen } from "./replay/as-seen";
import type { Item } from "./ui/transcript/items";

/** What is told of each item, quick to compare. */
const states = (items: readonly Item[]) =>
  items
    .map((item) => {
      const told =
        item.kind === "notice"
          ? item.tone
          : item.kind === "connection"
            ? item.scheme
            : "state" in item
              ? item.state
              : item.decision;
      return `${item.kind} ${item.id} ${told}`;
    })
    .join("\n");

test("the lead sees in replay what the customer sees in the chat, at every moment", () => {
  for (let seed = 1; seed <= 200; seed += 1) {
    const log = randomTimeline(seeded(seed)).filter((item): item is ReplayEvent => "seq" in item);
    let chat = emptyTranscript(THREAD);
    for (const [place, event] of log.entries()) {
      chat = framesOf(event, THREAD).reduce(receive, chat);

      const seen = asSeen(log.slice(0, place + 1));

      expect(states(seen), `seed ${seed}, step ${place + 1}`).toBe(states(chat.items));
    }
    expect(asSeen(log), `seed ${seed}`).toEqual(chat.items);
  }
});

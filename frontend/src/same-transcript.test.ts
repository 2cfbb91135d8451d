import { expect, test } from "vitest";
import { randomTimeline, seeded, THREAD } from "../tests-support/logs";
import { framesOf } from "../tests-support/wire";
import type { ReplayEvent } from "./api/client";
import { emptyTranscript, receive } from "./chat/transcript";
import { asSeen } from "./replay/as-seen";

test("the lead sees in replay what the customer sees in the chat", () => {
  for (let seed = 1; seed <= 200; seed += 1) {
    const log = randomTimeline(seeded(seed)).filter((item): item is ReplayEvent => "seq" in item);

    const chat = log
      .flatMap((event) => framesOf(event, THREAD))
      .reduce(receive, emptyTranscript(THREAD));

    expect(asSeen(log), `seed ${seed}`).toEqual(chat.items);
  }
});

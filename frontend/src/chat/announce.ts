/** What a screen reader should hear: finished messages and questions, never single tokens. */

import type { Item } from "../ui/transcript/items";
import { unmarked } from "../ui/unmarked";
import type { Transcript } from "./transcript";

/** The news between two states of one transcript, oldest first. Nothing while the past arrives. */
export function announcements(before: Transcript, after: Transcript): string[] {
  if (!before.live || !after.live || before.items === after.items) return [];
  const known = new Map(before.items.map((item) => [key(item), item]));
  return after.items.flatMap((item) => {
    const earlier = known.get(key(item));
    const words = earlier === item ? null : wordsFor(item, earlier);
    return words === null ? [] : [words];
  });
}

const key = (item: Item) => `${item.kind} ${item.id}`;

function wordsFor(item: Item, earlier: Item | undefined): string | null {
  switch (item.kind) {
    case "message": {
      const wasFinished = earlier?.kind === "message" && earlier.state === "finished";
      if (item.role === "user" || item.state !== "finished" || wasFinished) return null;
      return `${item.person ?? "Support"}: ${unmarked(item.text)}`;
    }
    case "approval":
      if (earlier !== undefined) return null;
      return item.audience === "lead"
        ? `A colleague has to agree: ${item.title}`
        : `Your approval is needed: ${item.title}`;
    case "connection":
      return earlier === undefined ? `Connect your account first: ${item.title}` : null;
    case "notice":
      return earlier === undefined ? item.text : null;
    case "call":
      return null;
  }
}

import { useVirtualizer } from "@tanstack/react-virtual";
import { useRef } from "react";
import { EmptyState } from "../ui/EmptyState";
import type { Item } from "../ui/transcript/items";
import { TranscriptItem } from "../ui/transcript/TranscriptItem";
import classes from "./replay.module.css";

/** The conversation with the customer's eyes; drawn by the parts that the chat is drawn by. */
export function SeenTranscript({ items }: { items: readonly Item[] }) {
  const scroller = useRef<HTMLDivElement>(null);
  const rows = useVirtualizer({
    count: items.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => 90,
    getItemKey: (index) => `${items[index]?.kind}-${items[index]?.id}`,
    overscan: 6,
  });
  if (items.length === 0)
    return (
      <EmptyState icon="chat" title="The customer saw nothing yet">
        Nothing has been said.
      </EmptyState>
    );
  return (
    <div
      ref={scroller}
      className={classes.seen}
      role="region"
      tabIndex={0}
      aria-label="What the customer saw"
    >
      <div style={{ height: rows.getTotalSize(), position: "relative" }}>
        {rows.getVirtualItems().map((row) => {
          const item = items[row.index];
          return (
            item && (
              <div
                key={row.key}
                ref={rows.measureElement}
                data-index={row.index}
                className={classes.seenItem}
                style={{ transform: `translateY(${row.start}px)` }}
              >
                <TranscriptItem item={item} />
              </div>
            )
          );
        })}
      </div>
    </div>
  );
}

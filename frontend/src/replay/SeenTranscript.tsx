import { useVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useRef } from "react";
import { EmptyState } from "../ui/EmptyState";
import type { Item } from "../ui/transcript/items";
import { TranscriptItem } from "../ui/transcript/TranscriptItem";
import classes from "./replay.module.css";

interface SeenTranscriptProps {
  items: readonly Item[];
  /** Begin at the end, and stay there as it grows, until somebody scrolls up. */
  follow: boolean;
}

/** How near to the end is still at the end, in pixels. */
const NEAR = 80;

/** The conversation with the customer's eyes; drawn by the parts that the chat is drawn by. */
export function SeenTranscript({ items, follow }: SeenTranscriptProps) {
  const scroller = useRef<HTMLDivElement>(null);
  const rows = useVirtualizer({
    count: items.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => 90,
    getItemKey: (index) => `${items[index]?.kind}-${items[index]?.id}`,
    overscan: 6,
  });
  const atEnd = useRef(true);
  const top = useRef(0);
  useEffect(() => {
    if (follow && atEnd.current && items.length > 0)
      rows.scrollToIndex(items.length - 1, { align: "end" });
  }, [rows, follow, items.length]);
  const empty = items.length === 0;
  useEffect(() => {
    const view = scroller.current;
    if (!follow || empty || view === null) return;
    // The desk below takes room for an answer; the end stays in sight.
    const resized = new ResizeObserver(() => {
      if (atEnd.current) view.scrollTop = view.scrollHeight;
    });
    resized.observe(view);
    return () => resized.disconnect();
  }, [follow, empty]);
  if (empty)
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
      onScroll={({ currentTarget: { scrollHeight, scrollTop, clientHeight } }) => {
        // What grows below moves nothing; only a person scrolls up.
        if (scrollHeight - scrollTop - clientHeight < NEAR) atEnd.current = true;
        else if (scrollTop < top.current) atEnd.current = false;
        top.current = scrollTop;
      }}
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

import { memo } from "react";
import { Icon, type IconName } from "../icons";
import { Json, parsed } from "../Json";
import { clock, plural } from "../time";
import { ApprovalCard } from "./ApprovalCard";
import { ConnectionCard } from "./ConnectionCard";
import type { CallItem, CallState, Item, MessageItem, NoticeItem } from "./items";
import { Markdown } from "./Markdown";
import classes from "./transcript.module.css";

/** One item of a conversation. Finished items never draw again. */
export const TranscriptItem = memo(function TranscriptItem({ item }: { item: Item }) {
  switch (item.kind) {
    case "message":
      return <Message item={item} />;
    case "call":
      return <Call item={item} />;
    case "approval":
      return <ApprovalCard item={item} />;
    case "connection":
      return <ConnectionCard item={item} />;
    case "notice":
      return <Notice item={item} />;
  }
});

function Message({ item }: { item: MessageItem }) {
  const mine = item.role === "user";
  return (
    <article
      className={classes.message}
      data-role={item.role}
      data-state={item.state}
      data-person={item.person ?? undefined}
    >
      {item.person === null ? (
        <span className={classes.hidden}>{mine ? "You said:" : "Support said:"}</span>
      ) : (
        <p className={classes.person}>
          <Icon name="person" size={14} /> {item.person}
          <span className={classes.hidden}> said:</span>
        </p>
      )}
      {mine || item.person !== null ? (
        <p className={classes.plain}>{item.text}</p>
      ) : (
        <Markdown text={item.text} />
      )}
      {item.state === "stopped" && <p className={classes.meta}>Stopped before it was finished</p>}
      {item.state === "finished" && item.at !== null && (
        <time className={classes.meta} dateTime={item.at}>
          {clock(item.at).slice(0, 5)}
        </time>
      )}
    </article>
  );
}

const CALL_STATES: Record<CallState, { icon: IconName; words: string }> = {
  running: { icon: "tool", words: "Working…" },
  waiting: { icon: "question", words: "Waits for your approval" },
  done: { icon: "check", words: "Done" },
  failed: { icon: "warning", words: "Failed" },
  declined: { icon: "cross", words: "Not done" },
  unknown: { icon: "question", words: "Outcome unknown" },
  stopped: { icon: "stop", words: "Stopped" },
};

function Call({ item }: { item: CallItem }) {
  const { icon, words } = CALL_STATES[item.state];
  return (
    <details className={classes.call} data-state={item.state}>
      <summary>
        <span className={classes.callIcon}>
          <Icon name={icon} size={16} />
        </span>
        <span className={classes.callTitle}>{item.title}</span>
        {item.attempts > 1 && (
          <span className={classes.attempts}>{plural(item.attempts, "attempt")}</span>
        )}
        <span className={classes.callState}>{words}</span>
      </summary>
      {item.operation !== null && <p className={classes.operation}>{item.operation}</p>}
      <Json value={parsed(item.args)} label={`Arguments of ${item.title}`} />
    </details>
  );
}

const NOTICE_ICONS: Record<NoticeItem["tone"], IconName> = {
  info: "stop",
  error: "warning",
  handoff: "person",
  resolved: "check",
};

function Notice({ item }: { item: NoticeItem }) {
  return (
    <p className={classes.notice} data-tone={item.tone}>
      <Icon name={NOTICE_ICONS[item.tone]} size={16} />
      <span>{item.text}</span>
      {item.code !== null && <code>{item.code}</code>}
    </p>
  );
}

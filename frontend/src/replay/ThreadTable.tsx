import { Link } from "@tanstack/react-router";
import type { Thread } from "../api/client";
import { StatusBadge } from "../ui/StatusBadge";
import { ago, dayAndTime } from "../ui/time";
import classes from "./replay.module.css";

interface ThreadTableProps {
  threads: Thread[];
  /** A further column. */
  part?: { title: string; of: (thread: Thread) => string };
}

export function ThreadTable({ threads, part }: ThreadTableProps) {
  const now = Date.now();
  return (
    <table className={classes.table}>
      <thead>
        <tr>
          <th scope="col">Conversation</th>
          {part && (
            <th scope="col" className={classes.number}>
              {part.title}
            </th>
          )}
          <th scope="col">State</th>
          <th scope="col">Last event</th>
          <th scope="col" className={classes.number}>
            Turns
          </th>
          <th scope="col" className={classes.number}>
            Tool calls
          </th>
          <th scope="col" className={classes.number}>
            Errors
          </th>
        </tr>
      </thead>
      <tbody>
        {threads.map((thread) => (
          <tr key={thread.id}>
            <td className={classes.name}>
              <Link to="/replay/$threadId" params={{ threadId: thread.id }}>
                {thread.title || "Without a message"}
              </Link>
              <span>{thread.customer.name}</span>
            </td>
            {part && (
              <td className={classes.number} data-label={part.title.toLowerCase()}>
                {part.of(thread)}
              </td>
            )}
            <td>
              <StatusBadge status={thread.status} />
            </td>
            <td>
              <time dateTime={thread.last_event_at} title={dayAndTime(thread.last_event_at)}>
                {ago(thread.last_event_at, now)}
              </time>
            </td>
            <td className={classes.number} data-label={thread.turns === 1 ? "turn" : "turns"}>
              {thread.turns.toLocaleString("en-GB")}
            </td>
            <td
              className={classes.number}
              data-label={thread.tool_calls === 1 ? "tool call" : "tool calls"}
            >
              {thread.tool_calls.toLocaleString("en-GB")}
            </td>
            <td
              className={classes.number}
              data-label={thread.errors === 1 ? "error" : "errors"}
              data-bad={thread.errors > 0}
            >
              {thread.errors.toLocaleString("en-GB")}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

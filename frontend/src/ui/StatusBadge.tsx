import type { ThreadStatus } from "../api/client";
import classes from "./ui.module.css";

export const STATUS_WORDS: Record<ThreadStatus, string> = {
  opened: "Open",
  waiting: "Waiting",
  handed_off: "Handed off",
  resolved: "Resolved",
  abandoned: "Abandoned",
};

export function StatusBadge({ status }: { status: ThreadStatus }) {
  return (
    <span className={classes.badge} data-status={status}>
      {STATUS_WORDS[status]}
    </span>
  );
}

import { type ThreadStatus, useSession } from "../api/client";
import classes from "./ui.module.css";

export const STATUS_WORDS: Record<ThreadStatus, string> = {
  opened: "In progress",
  waiting: "Waits for customer",
  handed_off: "Handed off",
  resolved: "Resolved",
  abandoned: "Abandoned",
};

/** The same state in the customer's eyes. */
const CUSTOMER_WORDS: Record<ThreadStatus, string> = {
  ...STATUS_WORDS,
  waiting: "Your turn",
  handed_off: "With a person",
  abandoned: "Closed",
};

/** Whose move it is in a conversation. */
export function StatusBadge({ status }: { status: ThreadStatus }) {
  const { me } = useSession();
  return (
    <span className={classes.badge} data-status={status}>
      {(me.role === "customer" ? CUSTOMER_WORDS : STATUS_WORDS)[status]}
    </span>
  );
}

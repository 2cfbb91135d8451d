/** How operations are spoken of. */

import type { Operation } from "../api/client";
import classes from "./review.module.css";

export const STATE_WORDS: Record<Operation["state"], string> = {
  pending: "Waits",
  changed: "Changed",
  approved: "Approved",
  rejected: "Rejected",
  removed: "Removed",
};

export function StateMark({ state }: { state: Operation["state"] }) {
  return (
    <span className={classes.state} data-state={state}>
      {STATE_WORDS[state]}
    </span>
  );
}

export function Key({ method, path }: { method: string; path: string }) {
  return (
    <span className={classes.key}>
      <span className={classes.method} data-method={method}>
        {method}
      </span>{" "}
      {path}
    </span>
  );
}

/** `write · asks · high risk · billing` */
export function inShort({ access, confirm, risk, agent }: Operation["classification"]): string {
  const asks = confirm ? "asks the customer" : "does not ask";
  return [access, asks, `${risk} risk`, agent].join(" · ");
}

/** The same for a row: `write · asks · high risk` */
export function inAWord({ access, confirm, risk }: Operation["classification"]): string {
  return [access, ...(confirm ? ["asks"] : []), `${risk} risk`].join(" · ");
}

export function bytes(count: number): string {
  return count < 1024 ? `${count} B` : `${(count / 1024).toFixed(1)} kB`;
}

/** How sure a suggestion is, in a word. */
export function sureness(confidence: number): string {
  if (confidence >= 0.9) return "sure";
  if (confidence >= 0.8) return "likely";
  return confidence >= 0.6 ? "probably" : "in doubt";
}

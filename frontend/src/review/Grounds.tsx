import type { Operation } from "../api/client";
import { useEvidence } from "./EvidencePane";
import classes from "./review.module.css";
import { sureness } from "./words";

/** Why an operation is suggested to be what it is: how sure, and on which line it was read. */
export function Grounds({ operation }: { operation: Operation }) {
  const { data } = useEvidence(operation.id, operation.version);
  if (data === undefined || data.grounds.length === 0)
    return (
      <ul className={classes.reasons}>
        {operation.suggestion.reasons.map((reason) => (
          <li key={reason}>{reason}</li>
        ))}
      </ul>
    );
  return (
    <ul className={classes.reasons}>
      {data.grounds.map(({ reason, confidence, line, source, about }) => (
        <li key={`${about} ${reason}`} data-doubt={confidence < 0.6}>
          {reason}{" "}
          <span className={classes.quiet}>
            {source === "model" && "the model says · "}
            {about === "description" ? "a warning" : sureness(confidence)}
            {line !== null && ` · line ${line.toLocaleString("en-GB")}`}
          </span>
        </li>
      ))}
    </ul>
  );
}

import type { HTMLAttributes } from "react";
import classes from "./transcript/transcript.module.css";

/** For screen readers only. */
export function VisuallyHidden(props: HTMLAttributes<HTMLDivElement>) {
  return <div className={classes.hidden} {...props} />;
}

import { Fragment, type ReactNode } from "react";
import { Icon } from "./icons";
import classes from "./ui.module.css";

/** What the server writes in place of a value that may not be shown. */
const REDACTED = /^(\[redacted[^\]]*\]|\[removed[^\]]*\]|\*{3,}|•{3,})$/i;

/** JSON for reading. A redacted value is shown as a lock with the rule, never as a blank. */
export function Json({ value, label }: { value: unknown; label: string }) {
  return (
    <pre className={classes.json} tabIndex={0} aria-label={label} role="region">
      <code>{draw(value, "")}</code>
    </pre>
  );
}

/** `text` as JSON where it is some, else itself. */
export function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function draw(value: unknown, indent: string): ReactNode {
  if (typeof value === "string") {
    if (REDACTED.test(value))
      return (
        <span className={classes.redacted}>
          <Icon name="lock" size={12} /> {value.replace(/[[\]*•]/g, "") || "redacted"}
        </span>
      );
    return <span className={classes.jsonText}>{JSON.stringify(value)}</span>;
  }
  if (typeof value !== "object" || value === null)
    return <span className={classes.jsonAtom}>{JSON.stringify(value) ?? "–"}</span>;
  const isList = Array.isArray(value);
  const entries: [string, unknown][] = isList
    ? value.map((item, index) => [String(index), item])
    : Object.entries(value);
  const [open, close] = isList ? ["[", "]"] : ["{", "}"];
  if (entries.length === 0) return open + close;
  const deeper = `${indent}  `;
  return (
    <>
      {open}
      {entries.map(([name, item], index) => (
        <Fragment key={name}>
          {`\n${deeper}`}
          {!isList && <span className={classes.jsonName}>{name}</span>}
          {!isList && ": "}
          {draw(item, deeper)}
          {index < entries.length - 1 && ","}
        </Fragment>
      ))}
      {`\n${indent}${close}`}
    </>
  );
}

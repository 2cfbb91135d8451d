import { useEffect, useRef } from "react";

/** Every key of the review, and what it does; also what `?` shows. */
export const KEYS = [
  ["j", "Next operation"],
  ["k", "Previous operation"],
  ["x", "Select, or take out of the selection"],
  ["⇧x", "Select everything from the last one selected to here"],
  ["a", "Approve the selection, or this operation"],
  ["r", "It reads"],
  ["w", "It writes"],
  ["c", "Ask the customer, or do not"],
  ["u", "Take the last decision back (for 10 seconds)"],
  ["/", "Search"],
  ["Esc", "Clear the selection"],
  ["?", "These keys"],
] as const;

export type Action =
  | "next"
  | "previous"
  | "choose"
  | "range"
  | "approve"
  | "read"
  | "write"
  | "confirm"
  | "undo"
  | "search"
  | "clear"
  | "help";

const ACTIONS: Readonly<Record<string, Action>> = {
  j: "next",
  k: "previous",
  x: "choose",
  X: "range",
  a: "approve",
  r: "read",
  w: "write",
  c: "confirm",
  u: "undo",
  "/": "search",
  Escape: "clear",
  "?": "help",
};

/** Does what a key says; never while something is being typed or a dialog is open. */
export function useKeys(act: (action: Action) => void): void {
  const latest = useRef(act);
  useEffect(() => {
    latest.current = act;
  });
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
      const { target } = event;
      if (
        target instanceof Element &&
        target.closest("input:not([type=checkbox]), textarea, select, [role=dialog], dialog")
      )
        return;
      const action = ACTIONS[event.key];
      if (action === undefined) return;
      event.preventDefault();
      latest.current(action);
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, []);
}

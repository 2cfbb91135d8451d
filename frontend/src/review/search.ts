/** What the address of a review says: the filter, and where one is. */

import type { Operation } from "../api/client";
import { GROUPS, type GroupId } from "./groups";

export interface ReviewSearch {
  query?: string | undefined;
  group?: GroupId | undefined;
  state?: Operation["state"] | undefined;
  access?: "read" | "write" | undefined;
  risk?: "low" | "medium" | "high" | undefined;
  tag?: string | undefined;
  agent?: string | undefined;
  /** The id of the operation that is looked at. */
  op?: string | undefined;
  /** On a narrow screen: whether it covers the list. */
  open?: true | undefined;
}

export type Filter = Omit<ReviewSearch, "op" | "open">;

function oneOf<Value extends string>(value: unknown, values: readonly Value[]): Value | undefined {
  return values.find((each) => each === value);
}

function text(value: unknown): string | undefined {
  return value === undefined || value === "" ? undefined : String(value);
}

/** The search of an address, without what does not exist. Total. */
export function reviewSearch(search: Record<string, unknown>): ReviewSearch {
  const groups = GROUPS.map(({ id }) => id);
  return {
    query: text(search.query),
    group: oneOf(search.group, groups),
    state: oneOf(search.state, ["pending", "approved", "rejected", "changed"]),
    access: oneOf(search.access, ["read", "write"]),
    risk: oneOf(search.risk, ["low", "medium", "high"]),
    tag: text(search.tag),
    agent: text(search.agent),
    op: text(search.op),
    open: search.open === true ? true : undefined,
  };
}

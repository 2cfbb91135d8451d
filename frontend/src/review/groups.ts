/** Operations in groups by what they ask of a reviewer. Pure. */

import type { Operation } from "../api/client";
import type { Filter } from "./search";

export type GroupId =
  | "changed"
  | "reads"
  | "doubtful"
  | "sensitive"
  | "writes"
  | "approved"
  | "rejected"
  | "removed";

export interface Group {
  id: GroupId;
  title: string;
  short: string;
  hint: string;
  /** Waits for a decision. */
  waiting: boolean;
}

export const GROUPS: readonly Group[] = [
  {
    id: "changed",
    title: "Changed since approved",
    short: "Changed",
    hint: "The document describes them differently now; they cannot be called until you look.",
    waiting: true,
  },
  {
    id: "reads",
    title: "Reads on which all rules agree",
    short: "Clear reads",
    hint: "Method, name, path and description all say that they only look.",
    waiting: true,
  },
  {
    id: "doubtful",
    title: "Rules disagree",
    short: "Unclear",
    hint: "The method says one thing and the words another, or somebody corrected them.",
    waiting: true,
  },
  {
    id: "sensitive",
    title: "Money, contact, credentials, deletion",
    short: "High risk",
    hint: "The customer is asked each time; nobody can lower that.",
    waiting: true,
  },
  {
    id: "writes",
    title: "Other writes",
    short: "Writes",
    hint: "They change something; the customer is asked unless you say otherwise.",
    waiting: true,
  },
  {
    id: "approved",
    title: "Approved",
    short: "Approved",
    hint: "The agent can call them.",
    waiting: false,
  },
  {
    id: "rejected",
    title: "Rejected",
    short: "Rejected",
    hint: "They stay out of the agent's reach.",
    waiting: false,
  },
  {
    id: "removed",
    title: "Removed from the document",
    short: "Removed",
    hint: "The document does not have them any more; they cannot be called. Kept for their history.",
    waiting: false,
  },
];

const SAFE = new Set(["GET", "HEAD", "OPTIONS", "QUERY"]);

/** The one group that an operation is in. */
export function groupOf({ state, method, clear, classification }: Operation): GroupId {
  if (state !== "pending") return state;
  if (SAFE.has(method) !== (classification.access === "read")) return "doubtful";
  if (!clear && classification.access === "read") return "doubtful";
  if (classification.access === "read") return "reads";
  return classification.risk === "high" ? "sensitive" : "writes";
}

export const isWaiting = ({ state }: Operation) => state === "pending" || state === "changed";

/** Whether an operation is among those asked for, its group aside. */
export function matches(operation: Operation, filter: Filter): boolean {
  const { classification } = operation;
  if (filter.state !== undefined && operation.state !== filter.state) return false;
  if (filter.access !== undefined && classification.access !== filter.access) return false;
  if (filter.risk !== undefined && classification.risk !== filter.risk) return false;
  if (filter.tag !== undefined && !operation.tags.includes(filter.tag)) return false;
  if (filter.agent !== undefined && classification.agent !== filter.agent) return false;
  if (filter.query === undefined) return true;
  const text = `${operation.key}\n${operation.summary}\n${operation.tool_name}`.toLowerCase();
  return filter.query
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}

export interface Grouped extends Group {
  operations: Operation[];
}

/** All groups in their order, also empty ones, with the operations that match. */
export function grouped(operations: readonly Operation[], filter: Filter): Grouped[] {
  const found = new Map<GroupId, Operation[]>(GROUPS.map(({ id }) => [id, []]));
  for (const operation of operations)
    if (matches(operation, filter)) found.get(groupOf(operation))?.push(operation);
  return GROUPS.map((group) => ({ ...group, operations: found.get(group.id) ?? [] }));
}

export type ListRow =
  | { kind: "group"; group: Grouped }
  | { kind: "operation"; operation: Operation; position: number };

/** What the list draws: each group that has something, followed by its operations. */
export function rowsOf(groups: readonly Grouped[], only: GroupId | undefined): ListRow[] {
  const rows: ListRow[] = [];
  let position = 0;
  for (const group of groups) {
    if (group.operations.length === 0 || (only !== undefined && group.id !== only)) continue;
    rows.push({ kind: "group", group });
    for (const operation of group.operations) {
      position += 1;
      rows.push({ kind: "operation", operation, position });
    }
  }
  return rows;
}

/** Everything there is to choose from, each once and in order. */
export function choices(operations: readonly Operation[]) {
  const sorted = (values: Iterable<string>) => [...new Set(values)].sort();
  return {
    tags: sorted(operations.flatMap(({ tags }) => tags)),
    agents: sorted(operations.map(({ classification }) => classification.agent)),
  };
}

/** The words that the reasons quote, to be marked in the document. */
export function quotedWords(reasons: readonly string[]): string[] {
  return reasons.flatMap((reason) =>
    [...reason.matchAll(/“([^”]+)”/g)].map(([, word]) => word ?? ""),
  );
}

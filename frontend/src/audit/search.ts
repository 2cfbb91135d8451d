/** The filter of the audit log, which is the page's address. */

import type { components } from "../api/schema.gen";

export type Act = components["schemas"]["Act"];

/** What was done, as people say it. */
export const ACTS: Record<Act, string> = {
  signed_in: "Signed in",
  sign_ins_ended: "Ended sign-ins",
  access_denied: "Was refused",
  document_imported: "Imported a document",
  operations_decided: "Decided about operations",
  decisions_undone: "Took decisions back",
  address_set: "Set the address of an API",
  environment_chosen: "Chose an environment",
  credential_set: "Set a credential",
  credential_deleted: "Deleted a credential",
  credential_tested: "Tested a credential",
  credentials_resealed: "Sealed all credentials anew",
  account_connected: "Connected an account",
  account_disconnected: "Disconnected an account",
  approval_decided: "Answered an approval",
};

export interface AuditSearch {
  act?: Act | undefined;
  actor?: string | undefined;
  /** The first and the last day, as `2026-11-25`, in the reader's own time. */
  from?: string | undefined;
  to?: string | undefined;
}

const DAY = /^\d{4}-\d{2}-\d{2}$/;

export function auditSearch({ act, actor, from, to }: Record<string, unknown>): AuditSearch {
  const day = (value: unknown) =>
    typeof value === "string" && DAY.test(value) && !Number.isNaN(Date.parse(value))
      ? value
      : undefined;
  return {
    act: typeof act === "string" && Object.hasOwn(ACTS, act) ? (act as Act) : undefined,
    actor: actor === undefined || actor === "" ? undefined : String(actor).slice(0, 200),
    from: day(from),
    to: day(to),
  };
}

/** The moments between which the entries of these days are: the second one is not among them. */
export function between({ from, to }: AuditSearch): { since?: string; until?: string } {
  const midnight = (day: string, later: number) => {
    const [year = 0, month = 1, date = 1] = day.split("-").map(Number);
    return new Date(year, month - 1, date + later).toISOString();
  };
  return {
    ...(from === undefined ? {} : { since: midnight(from, 0) }),
    ...(to === undefined ? {} : { until: midnight(to, 1) }),
  };
}

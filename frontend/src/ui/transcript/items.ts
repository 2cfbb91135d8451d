/** What a person sees of a conversation: one list, drawn the same in chat and in replay. */

export interface MessageItem {
  kind: "message";
  id: string;
  role: "user" | "assistant";
  /** Who of the support team wrote it; null for the agent and the customer. */
  person: string | null;
  text: string;
  /** `stopped`: the turn ended before the message was whole. */
  state: "streaming" | "finished" | "stopped";
  at: string | null;
}

export type CallState =
  | "running"
  | "waiting"
  | "done"
  | "failed"
  | "declined"
  | "unknown"
  | "stopped";

export interface CallItem {
  kind: "call";
  id: string;
  title: string;
  operation: string | null;
  access: string | null;
  /** JSON, as far as it has arrived. */
  args: string;
  state: CallState;
  attempts: number;
  at: string | null;
}

export interface ApprovalItem {
  kind: "approval";
  id: string;
  callId: string;
  title: string;
  method: string;
  url: string;
  fields: { name: string; value: string }[];
  expiresAt: string;
  /** Who is asked: the customer, or a support lead beside them. */
  audience: "customer" | "lead";
  /** What the customer may change before saying yes; null: nothing. */
  arguments: Readonly<Record<string, unknown>> | null;
  /** The yes may be given for the whole conversation. */
  standing: boolean;
  decision: "approved" | "rejected" | "expired" | "answered" | "edited" | null;
  by: string | null;
  at: string | null;
}

/** A call needs the customer's own permission at another service. */
export interface ConnectionItem {
  kind: "connection";
  id: string;
  specId: string;
  scheme: string;
  title: string;
  at: string | null;
}

export interface NoticeItem {
  kind: "notice";
  id: string;
  tone: "info" | "error" | "handoff" | "resolved";
  text: string;
  code: string | null;
  at: string | null;
}

export type Item = MessageItem | CallItem | ApprovalItem | ConnectionItem | NoticeItem;

export function callStateOf(outcome: unknown): CallState {
  return outcome === "done" || outcome === "failed" || outcome === "declined" ? outcome : "unknown";
}

export const WORDS = {
  stopped: "Stopped.",
  resolved: "This conversation is marked as resolved. Write again at any time to reopen it.",
  abandoned: "This conversation was closed after a long silence. Write again to reopen it.",
  standBy: "My usual language model does not respond; a stand-by answers for now.",
  consent: (title: string) => `You are not asked about “${title}” any more in this conversation.`,
  consentRevoked: "You are asked again from now on.",
  handoff: "A person from the team is asked to take over.",
  joined: (person: string) => `${person} from the team has joined and answers you now.`,
  found: {
    done: (title: string) => `“${title}”: we have checked, and it was done.`,
    not_done: (title: string) => `“${title}”: we have checked, and it was not done.`,
  },
  left: (person: string) => `${person} has left. The assistant answers again.`,
} as const;

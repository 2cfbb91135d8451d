import { Button, Group, Text } from "@mantine/core";
import { createContext, useContext } from "react";
import { Icon, type IconName } from "../icons";
import { duration } from "../time";
import { useCountdown } from "../useCountdown";
import type { ApprovalItem } from "./items";
import classes from "./transcript.module.css";

export interface ApprovalActions {
  decide(approvalId: string, decision: "approve" | "reject"): void;
  deciding: ReadonlySet<string>;
  errors: ReadonlyMap<string, string>;
  /** False while an answer could not be sent. */
  connected: boolean;
}

/** Absent where the transcript is only read. */
export const ApprovalActionsContext = createContext<ApprovalActions | null>(null);

const DECIDED: Record<"approved" | "rejected" | "expired", { icon: IconName; words: string }> = {
  approved: { icon: "check", words: "Approved" },
  rejected: { icon: "cross", words: "Not approved – nothing was sent" },
  expired: { icon: "clock", words: "Expired without an answer – nothing was sent" },
};

/** A question with exactly what will be sent, and its answer. */
export function ApprovalCard({ item }: { item: ApprovalItem }) {
  const actions = useContext(ApprovalActionsContext);
  const titleId = `approval-${item.id}`;
  return (
    <section
      className={classes.approval}
      data-decision={item.decision ?? "pending"}
      aria-labelledby={titleId}
    >
      <header className={classes.approvalHead}>
        <Icon name="question" size={20} />
        <Text fw={600} id={titleId}>
          {item.title}
        </Text>
      </header>
      <p className={classes.request}>
        <span className={classes.method}>{item.method}</span> <span>{item.url}</span>
      </p>
      {item.fields.length > 0 && (
        <table className={classes.fields}>
          <caption className={classes.hidden}>What will be sent</caption>
          <tbody>
            {item.fields.map(({ name, value }, index) => (
              // biome-ignore lint/suspicious/noArrayIndexKey: the list never changes, names can repeat
              <tr key={index}>
                <th scope="row">{name}</th>
                <td>{value}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      {item.decision !== null ? (
        <Text size="sm" className={classes.decided}>
          <Icon name={DECIDED[item.decision].icon} size={16} />
          {DECIDED[item.decision].words}
        </Text>
      ) : actions === null ? (
        <Text size="sm" className={classes.decided}>
          <Icon name="clock" size={16} /> Not answered yet
        </Text>
      ) : (
        <Question item={item} actions={actions} />
      )}
    </section>
  );
}

function Question({ item, actions }: { item: ApprovalItem; actions: ApprovalActions }) {
  const seconds = useCountdown(Date.parse(item.expiresAt));
  const deciding = actions.deciding.has(item.id);
  const error = actions.errors.get(item.id);
  const closed = seconds === 0 || deciding || !actions.connected;
  return (
    <>
      <Group gap="xs" className={classes.answers}>
        <Button
          size="sm"
          disabled={closed}
          onClick={() => actions.decide(item.id, "approve")}
          leftSection={<Icon name="check" size={16} />}
        >
          Approve
        </Button>
        <Button
          size="sm"
          variant="default"
          disabled={closed}
          onClick={() => actions.decide(item.id, "reject")}
        >
          Don’t
        </Button>
        <Text size="sm" c="dimmed">
          {deciding
            ? "Sending your answer…"
            : seconds === 0
              ? "This question has expired."
              : !actions.connected
                ? "You can answer once the connection is back."
                : `Nothing is sent before you approve. Valid for ${duration(coarse(seconds) * 1000)}.`}
        </Text>
      </Group>
      {error !== undefined && (
        <Text size="sm" role="alert" className={classes.answerError}>
          {error}
        </Text>
      )}
    </>
  );
}

/** Long times are counted in minutes: a second hand would only disturb. */
const coarse = (seconds: number) => (seconds > 90 ? Math.ceil(seconds / 60) * 60 : seconds);

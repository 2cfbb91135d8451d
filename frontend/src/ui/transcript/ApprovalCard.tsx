import { Button, Checkbox, Group, Text, Textarea, TextInput } from "@mantine/core";
import { createContext, useContext, useMemo, useState } from "react";
import type { ApprovalAnswer } from "../../api/frames";
import { Icon, type IconName } from "../icons";
import { duration } from "../time";
import { useCountdown } from "../useCountdown";
import { type Leaf, leavesOf, type Scalar, typed, withLeaf } from "./arguments";
import type { ApprovalItem } from "./items";
import classes from "./transcript.module.css";

export interface ApprovalActions {
  decide(approvalId: string, answer: ApprovalAnswer): void;
  deciding: ReadonlySet<string>;
  errors: ReadonlyMap<string, string>;
  /** False while an answer could not be sent. */
  connected: boolean;
}

/** Absent where the transcript is only read. */
export const ApprovalActionsContext = createContext<ApprovalActions | null>(null);

const DECIDED: Record<NonNullable<ApprovalItem["decision"]>, { icon: IconName; words: string }> = {
  approved: { icon: "check", words: "Approved" },
  rejected: { icon: "cross", words: "Not approved – nothing was sent" },
  expired: { icon: "clock", words: "Expired without an answer – nothing was sent" },
  answered: { icon: "chat", words: "Answered with a message – nothing was sent" },
  edited: { icon: "right", words: "Changed – you are asked again" },
};

/** A question with exactly what will be sent, and its answer. */
export function ApprovalCard({ item }: { item: ApprovalItem }) {
  const actions = useContext(ApprovalActionsContext);
  const titleId = `approval-${item.id}`;
  return (
    <article
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
      ) : item.audience === "lead" ? (
        <Text size="sm" className={classes.decided}>
          <Icon name="clock" size={16} /> Somebody of the team has to agree too. Nothing is sent
          before.
        </Text>
      ) : actions === null ? (
        <Text size="sm" className={classes.decided}>
          <Icon name="clock" size={16} /> Not answered yet
        </Text>
      ) : (
        <Question item={item} actions={actions} />
      )}
    </article>
  );
}

type Open = "change" | "write" | null;

function Question({ item, actions }: { item: ApprovalItem; actions: ApprovalActions }) {
  const seconds = useCountdown(Date.parse(item.expiresAt));
  const [open, setOpen] = useState<Open>(null);
  const [standing, setStanding] = useState(false);
  const deciding = actions.deciding.has(item.id);
  const error = actions.errors.get(item.id);
  const closed = seconds === 0 || deciding || !actions.connected;
  const answer = (given: ApprovalAnswer) => actions.decide(item.id, given);
  const leaves = useMemo(() => leavesOf(item.arguments), [item.arguments]);
  return (
    <>
      {item.standing && (
        <Checkbox
          mt={12}
          size="sm"
          label="Don’t ask me about this again in this conversation"
          checked={standing}
          onChange={(event) => setStanding(event.currentTarget.checked)}
        />
      )}
      <Group gap="xs" className={classes.answers}>
        <Button
          size="sm"
          disabled={closed}
          onClick={() => answer({ decision: "approve", ...(standing ? { standing } : {}) })}
          leftSection={<Icon name="check" size={16} />}
        >
          Approve
        </Button>
        <Button
          size="sm"
          variant="default"
          disabled={closed}
          onClick={() => answer({ decision: "reject" })}
        >
          Don’t
        </Button>
        {leaves.length > 0 && (
          <Button
            size="sm"
            variant="subtle"
            disabled={closed}
            aria-expanded={open === "change"}
            onClick={() => setOpen(open === "change" ? null : "change")}
          >
            Change
          </Button>
        )}
        <Button
          size="sm"
          variant="subtle"
          disabled={closed}
          aria-expanded={open === "write"}
          onClick={() => setOpen(open === "write" ? null : "write")}
        >
          Write instead
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
      {open === "change" && (
        <Change
          leaves={leaves}
          closed={closed}
          onChange={(changes) => {
            const changed = changes.reduce<unknown>(
              (all, { path, value }) => withLeaf(all, path, value),
              item.arguments,
            );
            answer({ decision: "edit", arguments: changed as Record<string, unknown> });
          }}
        />
      )}
      {open === "write" && (
        <Write closed={closed} onWrite={(reason) => answer({ decision: "respond", reason })} />
      )}
      {error !== undefined && (
        <Text size="sm" role="alert" className={classes.answerError}>
          {error}
        </Text>
      )}
    </>
  );
}

interface ChangeProps {
  leaves: readonly Leaf[];
  closed: boolean;
  onChange(changes: { path: readonly string[]; value: Scalar }[]): void;
}

/** Other values for what would be sent; what comes of them is shown and asked about again. */
function Change({ leaves, closed, onChange }: ChangeProps) {
  const [texts, setTexts] = useState(() => leaves.map(({ value }) => String(value)));
  const values = leaves.map(({ value }, place) => typed(value, texts[place] ?? ""));
  const changed = leaves.some(({ value }, place) => values[place] !== value);
  const set = (place: number, text: string) =>
    setTexts(texts.map((before, at) => (at === place ? text : before)));
  return (
    <form
      className={classes.change}
      aria-label="Change what will be sent"
      onSubmit={(event) => {
        event.preventDefault();
        onChange(
          leaves.flatMap(({ path }, place) => {
            const value = values[place];
            return value === null || value === undefined ? [] : [{ path, value }];
          }),
        );
      }}
    >
      {leaves.map(({ path, name, value }, place) =>
        typeof value === "boolean" ? (
          <Checkbox
            key={path.join("/")}
            label={name}
            checked={texts[place] === "true"}
            onChange={(event) => set(place, String(event.currentTarget.checked))}
          />
        ) : (
          <TextInput
            key={path.join("/")}
            label={name}
            value={texts[place] ?? ""}
            inputMode={typeof value === "number" ? "decimal" : "text"}
            error={values[place] === null && "A number, please"}
            onChange={(event) => set(place, event.currentTarget.value)}
          />
        ),
      )}
      <Group gap="xs">
        <Button size="sm" type="submit" disabled={closed || !changed || values.includes(null)}>
          Ask me again with this
        </Button>
        <Text size="sm" c="dimmed">
          Nothing is sent yet.
        </Text>
      </Group>
    </form>
  );
}

const LONGEST_ANSWER = 1_000;

function Write({ closed, onWrite }: { closed: boolean; onWrite(text: string): void }) {
  const [text, setText] = useState("");
  const tooLong = [...text].length > LONGEST_ANSWER;
  return (
    <form
      className={classes.change}
      aria-label="Write instead of yes or no"
      onSubmit={(event) => {
        event.preventDefault();
        if (text.trim() !== "" && !tooLong) onWrite(text.trim());
      }}
    >
      <Textarea
        label="Your answer instead of yes or no"
        autosize
        minRows={2}
        maxRows={6}
        value={text}
        error={tooLong && `Up to ${LONGEST_ANSWER.toLocaleString("en-GB")} characters`}
        onChange={(event) => setText(event.currentTarget.value)}
      />
      <Group gap="xs">
        <Button size="sm" type="submit" disabled={closed || text.trim() === "" || tooLong}>
          Send answer
        </Button>
        <Text size="sm" c="dimmed">
          The request itself is not sent.
        </Text>
      </Group>
    </form>
  );
}

/** Long times are counted in minutes: a second hand would only disturb. */
const coarse = (seconds: number) => (seconds > 90 ? Math.ceil(seconds / 60) * 60 : seconds);

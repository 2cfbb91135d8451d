import { Button, NativeSelect, SegmentedControl, TextInput } from "@mantine/core";
import { useId } from "react";
import type { Operation, OperationDetail } from "../api/client";
import { Icon } from "../ui/icons";
import { ExecutorFields } from "./ExecutorFields";
import classes from "./review.module.css";
import type { Change } from "./useDecisions";

/** What a reviewer has changed and not yet sent; what is left out stays as it is. */
export type Draft = Omit<Change, "state">;

/** Whether a draft would change anything. A reason alone does not. */
export function isChanged({ reason: _, ...draft }: Draft): boolean {
  return Object.values(draft).some((value) => value !== undefined);
}

/** Reads need no yes and writes do, until somebody says otherwise. */
export function withAccess(access: "read" | "write"): Draft {
  return { access, confirm: access === "write" };
}

interface CorrectionProps {
  operation: Operation;
  detail: OperationDetail | undefined;
  agents: readonly string[];
  draft: Draft;
  busy: boolean;
  onDraft: (draft: Draft) => void;
  onDecide: (state: Change["state"]) => void;
}

/** What an operation is, to be corrected; and the decision about it. */
export function Correction(props: CorrectionProps) {
  const { operation, detail, agents, draft, busy, onDraft, onDecide } = props;
  const now = operation.classification;
  const locked = operation.suggestion.confirm_locked;
  const bindings = draft.bindings ?? now.bindings;
  const set = (more: Draft) => onDraft({ ...draft, ...more });
  const agentList = useId();
  const waiting = operation.state === "pending" || operation.state === "changed";
  return (
    <form
      className={classes.form}
      aria-label="Correct and decide"
      onSubmit={(event) => {
        event.preventDefault();
        onDecide("approved");
      }}
    >
      <div className={classes.fields}>
        <div>
          <span className={classes.label}>Access</span>
          <SegmentedControl
            fullWidth
            size="sm"
            aria-label="Access"
            disabled={locked}
            data={[
              { value: "read", label: "Read" },
              { value: "write", label: "Write" },
            ]}
            value={draft.access ?? now.access}
            onChange={(value) => set(withAccess(value === "read" ? "read" : "write"))}
          />
        </div>
        <NativeSelect
          label="Risk"
          data={["low", "medium", "high"]}
          value={draft.risk ?? now.risk}
          onChange={(event) =>
            set({ risk: event.currentTarget.value as "low" | "medium" | "high" })
          }
        />
        <TextInput
          label="Agent"
          list={agentList}
          maxLength={60}
          required
          value={draft.agent ?? now.agent}
          onChange={(event) => set({ agent: event.currentTarget.value })}
        />
        <datalist id={agentList}>
          {agents.map((agent) => (
            <option key={agent} value={agent} />
          ))}
        </datalist>
        <TextInput
          label="Idempotency header"
          placeholder="None"
          pattern="[A-Za-z0-9\-]*"
          maxLength={100}
          value={draft.idempotency_header ?? now.idempotency_header ?? ""}
          onChange={(event) => set({ idempotency_header: event.currentTarget.value })}
        />
      </div>
      <label className={classes.tick}>
        <input
          type="checkbox"
          checked={draft.confirm ?? now.confirm}
          disabled={locked}
          onChange={(event) => set({ confirm: event.currentTarget.checked })}
        />
        <span>
          Asks the customer each time
          {locked && (
            <span className={classes.quiet}>
              <br />
              <Icon name="lock" size={13} /> It deletes, or touches money, contacts or credentials:
              nobody can lower that.
            </span>
          )}
        </span>
      </label>
      {detail !== undefined && detail.arguments.length > 0 && (
        <fieldset className={classes.bindings}>
          <legend>Filled from the signed-in customer, unseen by the model</legend>
          {detail.arguments.map((argument) => (
            <div key={argument} className={classes.binding}>
              <code>{argument}</code>
              <NativeSelect
                size="xs"
                aria-label={`Fill ${argument} with`}
                data={[
                  { value: "", label: "the model" },
                  ...detail.claims.map((claim) => ({ value: claim, label: claim })),
                ]}
                value={bindings[argument] ?? ""}
                onChange={(event) => {
                  const { [argument]: _, ...others } = bindings;
                  const claim = event.currentTarget.value;
                  set({ bindings: claim === "" ? others : { ...others, [argument]: claim } });
                }}
              />
            </div>
          ))}
        </fieldset>
      )}
      <label className={classes.tick}>
        <input
          type="checkbox"
          checked={draft.unbindable ?? now.unbindable}
          onChange={(event) => set({ unbindable: event.currentTarget.checked })}
        />
        <span>
          One customer's own, and nothing says whose
          <span className={classes.quiet}>
            <br />
            Not offered to a customer who is not known.
          </span>
        </span>
      </label>
      <ExecutorFields
        key={operation.version}
        now={now}
        pages={operation.suggestion.pagination}
        names={detail?.arguments ?? []}
        draft={draft}
        onDraft={set}
      />
      <TextInput
        label="Why"
        placeholder="Kept with the decision; a rejection needs it"
        maxLength={1000}
        value={draft.reason ?? ""}
        onChange={(event) => set({ reason: event.currentTarget.value })}
      />
      <div className={classes.actions}>
        <Button type="submit" disabled={busy} leftSection={<Icon name="check" size={16} />}>
          {operation.state === "approved"
            ? "Approve again"
            : isChanged(draft)
              ? "Approve as corrected"
              : "Approve"}
        </Button>
        <Button
          variant="default"
          disabled={busy || !draft.reason?.trim()}
          onClick={() => onDecide("rejected")}
        >
          Reject
        </Button>
        {waiting && isChanged(draft) && (
          <Button variant="default" disabled={busy} onClick={() => onDecide("pending")}>
            Save, decide later
          </Button>
        )}
        {!waiting && (
          <Button variant="default" disabled={busy} onClick={() => onDecide("pending")}>
            Reopen
          </Button>
        )}
      </div>
    </form>
  );
}

import { NativeSelect, NumberInput, Textarea, TextInput } from "@mantine/core";
import { useState } from "react";
import type { Operation } from "../api/client";
import type { Draft } from "./Correction";
import { RulesFields } from "./RulesFields";
import classes from "./review.module.css";

type Classification = Operation["classification"];

type JsonName = "lookup" | "status";

const JSONS: readonly { name: JsonName; label: string; hint: string }[] = [
  {
    name: "lookup",
    label: "What shows whether a write took effect",
    hint: '{"operation": "GET /orders/{id}", "arguments": {"id": "/arguments/id"}}',
  },
  {
    name: "status",
    label: "What says how far an accepted request is",
    hint: '{"operation": "GET /jobs/{id}", "arguments": {"id": "/answer/id"}}',
  },
];
const SECONDS: readonly { name: "idempotency_lifetime_s" | "cacheable_s"; label: string }[] = [
  { name: "idempotency_lifetime_s", label: "Keys are remembered for, seconds" },
  { name: "cacheable_s", label: "An answer may be used again for, seconds" },
];

interface ExecutorFieldsProps {
  now: Classification;
  /** How its pages could be walked, if they could. */
  pages: Classification["pagination"];
  /** Names of its arguments. */
  names: readonly string[];
  draft: Draft;
  onDraft: (more: Draft) => void;
}

/** What whoever makes the call must know: repeating, looking up, caching, shortening. */
export function ExecutorFields({ now, pages, names, draft, onDraft }: ExecutorFieldsProps) {
  return (
    <details
      className={classes.fold}
      // A field that is wrong and out of sight would hold the form up without a word.
      onInvalidCapture={(event) => {
        event.currentTarget.open = true;
      }}
    >
      <summary>How it is called</summary>
      <div className={classes.fields}>
        <NativeSelect
          label="Done twice is done once"
          data={[
            { value: "unknown", label: "Nobody has said" },
            { value: "yes", label: "Yes, it may be repeated" },
            { value: "no", label: "No, never repeat it" },
          ]}
          value={inWords(draft.repeatable ?? now.repeatable)}
          onChange={(event) => onDraft({ repeatable: SAID[event.currentTarget.value] ?? null })}
        />
        <TextInput
          label="Fails together with"
          placeholder="Those with the same first tag"
          maxLength={100}
          value={draft.breaker_group ?? now.breaker_group ?? ""}
          onChange={(event) => onDraft({ breaker_group: event.currentTarget.value })}
        />
        {SECONDS.map(({ name, label }) => (
          <NumberInput
            key={name}
            label={label}
            placeholder="Nobody has said"
            min={0}
            allowDecimal={false}
            hideControls
            value={draft[name] ?? now[name] ?? ""}
            onChange={(value) => onDraft({ [name]: typeof value === "number" ? value : 0 })}
          />
        ))}
        <AnswerFields
          fields={draft.answer_fields ?? now.answer_fields}
          onFields={(answer_fields) => onDraft({ answer_fields })}
        />
      </div>
      {JSONS.map(({ name, label, hint }) => (
        <JsonField
          key={name}
          label={label}
          hint={hint}
          value={draft[name] ?? now[name]}
          onValue={(value) => onDraft({ [name]: value })}
        />
      ))}
      <RulesFields
        rules={draft.approval_rules ?? now.approval_rules}
        names={names}
        onRules={(approval_rules) => onDraft({ approval_rules })}
      />
      {pages !== null && (
        <label className={classes.tick}>
          <input
            type="checkbox"
            checked={draft.paged ?? now.pagination !== null}
            onChange={(event) => onDraft({ paged: event.currentTarget.checked })}
          />
          <span>
            Its pages are walked behind one cursor
            <span className={classes.quiet}>
              <br />
              <code>{JSON.stringify(pages)}</code>
            </span>
          </span>
        </label>
      )}
    </details>
  );
}

interface AnswerFieldsProps {
  fields: readonly string[];
  onFields: (fields: string[]) => void;
}

/** A list, written with commas between; the text is kept, as a comma comes before what follows. */
function AnswerFields({ fields, onFields }: AnswerFieldsProps) {
  const [text, setText] = useState(fields.join(", "));
  return (
    <TextInput
      label="Fields of the answer that the model sees"
      placeholder="All of them; or data.id, data.state"
      value={text}
      onChange={(event) => {
        const written = event.currentTarget.value;
        setText(written);
        onFields(
          written
            .split(",")
            .map((field) => field.trim())
            .filter((field) => field !== ""),
        );
      }}
    />
  );
}

interface JsonFieldProps {
  label: string;
  hint: string;
  value: { operation: string } | null;
  /** Undefined while what is written is no object. */
  onValue: (value: object | undefined) => void;
}

/** A link to another operation, corrected as the JSON that it is. Left empty, there is none. */
function JsonField({ label, hint, value, onValue }: JsonFieldProps) {
  const [text, setText] = useState(value?.operation ? JSON.stringify(value) : "");
  const [wrong, setWrong] = useState(false);
  return (
    <Textarea
      label={label}
      placeholder={hint}
      autosize
      maxRows={8}
      mt={8}
      error={wrong && WRONG}
      value={text}
      onChange={(event) => {
        const field = event.currentTarget;
        const read = field.value.trim() === "" ? NONE : objectOf(field.value);
        setText(field.value);
        setWrong(read === undefined);
        field.setCustomValidity(read === undefined ? WRONG : "");
        onValue(read);
      }}
    />
  );
}

const NONE = { operation: "" };
const WRONG = "Write a JSON object.";

function objectOf(text: string): object | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

const SAID: Record<string, boolean | "unknown"> = { yes: true, no: false, unknown: "unknown" };
const inWords = (value: boolean | "unknown" | null) =>
  value === true ? "yes" : value === false ? "no" : "unknown";

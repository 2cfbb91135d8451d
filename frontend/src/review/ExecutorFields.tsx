import { NativeSelect, NumberInput, Textarea, TextInput } from "@mantine/core";
import { useState } from "react";
import type { Operation } from "../api/client";
import type { Draft } from "./Correction";
import classes from "./review.module.css";

type Classification = Operation["classification"];

type JsonName = "lookup" | "status" | "approval_rules";

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
  { name: "approval_rules", label: "What is demanded beyond a yes", hint: "{}" },
];
const SECONDS: readonly { name: "idempotency_lifetime_s" | "cacheable_s"; label: string }[] = [
  { name: "idempotency_lifetime_s", label: "Keys are remembered for, seconds" },
  { name: "cacheable_s", label: "An answer may be used again for, seconds" },
];

interface ExecutorFieldsProps {
  now: Classification;
  /** How its pages could be walked, if they could. */
  pages: Classification["pagination"];
  draft: Draft;
  onDraft: (more: Draft) => void;
}

/** What whoever makes the call must know: repeating, looking up, caching, shortening. */
export function ExecutorFields({ now, pages, draft, onDraft }: ExecutorFieldsProps) {
  const fields = draft.answer_fields ?? now.answer_fields;
  return (
    <details className={classes.fold}>
      <summary>How it is called</summary>
      <div className={classes.fields}>
        <NativeSelect
          label="Done twice is done once"
          data={[
            { value: "", label: "Nobody has said", disabled: now.repeatable !== null },
            { value: "yes", label: "Yes, it may be repeated" },
            { value: "no", label: "No, never repeat it" },
          ]}
          value={yesNo(draft.repeatable ?? now.repeatable)}
          onChange={(event) => onDraft({ repeatable: event.currentTarget.value === "yes" })}
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
        <TextInput
          label="Fields of the answer that the model sees"
          placeholder="All of them; or data.id, data.state"
          value={fields.join(", ")}
          onChange={(event) =>
            onDraft({
              answer_fields: event.currentTarget.value
                .split(",")
                .map((field) => field.trimStart())
                .filter((field, index, all) => field !== "" || index < all.length - 1),
            })
          }
        />
      </div>
      {JSONS.map(({ name, label, hint }) => (
        <JsonField
          key={name}
          label={label}
          hint={hint}
          value={now[name]}
          onValue={(value) => onDraft({ [name]: value })}
        />
      ))}
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

interface JsonFieldProps {
  label: string;
  hint: string;
  value: object | null;
  onValue: (value: object) => void;
}

/** One field that is an object, corrected as the JSON that it is. */
function JsonField({ label, hint, value, onValue }: JsonFieldProps) {
  const [text, setText] = useState(value === null ? "" : JSON.stringify(value));
  const [wrong, setWrong] = useState(false);
  return (
    <Textarea
      label={label}
      placeholder={hint}
      autosize
      maxRows={8}
      mt={8}
      error={wrong && "Write a JSON object."}
      value={text}
      onChange={(event) => {
        const written = event.currentTarget.value;
        const read = objectOf(written);
        setText(written);
        setWrong(read === null && written.trim() !== "");
        if (read !== null) onValue(read);
      }}
    />
  );
}

function objectOf(text: string): object | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}

const yesNo = (value: boolean | null) => (value === null ? "" : value ? "yes" : "no");

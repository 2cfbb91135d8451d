import { NativeSelect, NumberInput, TextInput } from "@mantine/core";
import type { Operation } from "../api/client";
import type { Draft } from "./Correction";
import classes from "./review.module.css";

type Classification = Operation["classification"];
type Name<Value> = {
  [Key in keyof Classification & keyof Draft]: Classification[Key] extends Value ? Key : never;
}[keyof Classification & keyof Draft];

const TEXTS: readonly { name: Name<string | null>; label: string; hint: string }[] = [
  { name: "lookup_operation", label: "Lookup operation", hint: "GET /orders/{id}" },
  { name: "status_operation", label: "Status operation", hint: "GET /jobs/{id}" },
  { name: "breaker_group", label: "Fails together with", hint: "All of its origin" },
];
const SECONDS: readonly { name: Name<number | null>; label: string }[] = [
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
        {TEXTS.map(({ name, label, hint }) => (
          <TextInput
            key={name}
            label={label}
            placeholder={hint}
            maxLength={2000}
            value={draft[name] ?? now[name] ?? ""}
            onChange={(event) => onDraft({ [name]: event.currentTarget.value })}
          />
        ))}
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

const yesNo = (value: boolean | null) => (value === null ? "" : value ? "yes" : "no");

import type { ReactNode } from "react";
import type { Fact, FactOf } from "../api/client";
import { Json, parsed } from "../ui/Json";
import { dayAndTime, duration } from "../ui/time";
import { Markdown } from "../ui/transcript/Markdown";
import { ResolveCall } from "./ResolveCall";
import classes from "./replay.module.css";
import type { Step } from "./steps";

interface StepDetailsProps {
  step: Step;
  steps: readonly Step[];
  onSelect: (seq: number) => void;
}

/** Everything that the log says about one step. */
export function StepDetails({ step, steps, onSelect }: StepDetailsProps) {
  return (
    <div className={classes.details} role="region" tabIndex={0} aria-label="The selected step">
      <h2 className={classes.detailsTitle} data-tone={step.tone}>
        {step.title}
      </h2>
      <p className={classes.facts}>
        <span>Step {step.seq}</span>
        <time dateTime={step.at}>{dayAndTime(step.at)}</time>
      </p>
      <About fact={step.fact} steps={steps} onSelect={onSelect} />
      <details className={classes.raw}>
        <summary>The fact as recorded</summary>
        <Json value={step.fact} label="The fact as recorded" />
      </details>
    </div>
  );
}

interface AboutProps {
  fact: Fact;
  steps: readonly Step[];
  onSelect: (seq: number) => void;
}

function About({ fact, steps, onSelect }: AboutProps) {
  switch (fact.type) {
    case "message_received":
    case "person_answered":
      return <p className={classes.quote}>{fact.text}</p>;
    case "message_finished":
      return (
        <div className={classes.quote}>
          <Markdown text={fact.text} />
        </div>
      );
    case "turn_opened":
      return (
        <Facts
          rows={[
            ["Agent", fact.agent],
            ["Run", fact.run],
            ["Correlation id", <code key="id">{fact.correlation_id}</code>],
            ...Object.entries(fact.versions),
          ]}
        />
      );
    case "tool_called":
    case "tool_returned":
      return <CallDetails callId={fact.tool_call_id} steps={steps} onSelect={onSelect} />;
    case "attempt_made":
      return (
        <>
          <Facts
            rows={[
              ["Request", <code key="request">{fact.request}</code>],
              ["Status", fact.status ?? "no answer"],
              ["Outcome", fact.outcome.replace("_", " ")],
              ["Category", fact.category],
              ["Error", fact.error],
              ["Began", dayAndTime(fact.started_at)],
              ["Waited before", duration(fact.waited_ms)],
              ["Took", duration(fact.duration_ms)],
            ]}
          />
          <CallDetails callId={fact.tool_call_id} steps={steps} onSelect={onSelect} />
        </>
      );
    case "call_resolved":
      return (
        <>
          <Facts
            rows={[
              ["It was found out", fact.resolution === "done" ? "done" : "not done"],
              ["How", FOUND_OUT[fact.how]],
              ["By", fact.by],
              ["Remark for leads and agents", fact.remark],
            ]}
          />
          <CallDetails callId={fact.tool_call_id} steps={steps} onSelect={onSelect} />
        </>
      );
    case "approval_asked":
      return (
        <>
          <Facts
            rows={[
              ["Question", fact.title],
              ["Request", <code key="url">{`${fact.method} ${fact.url}`}</code>],
              ["Valid until", dayAndTime(fact.expires_at)],
              ["Who is asked", fact.audience === "lead" ? "a support lead" : "the customer"],
              ["By the rule", fact.why],
            ]}
          />
          <h3 className={classes.part}>What would be sent</h3>
          <Facts rows={fact.fields.map(({ name = "", value = "" }) => [name, value])} />
        </>
      );
    case "approval_decided":
      return (
        <Facts
          rows={[
            ["Decision", fact.decision],
            ["By", fact.by],
            ["Reason", fact.reason],
          ]}
        />
      );
    case "turn_closed":
      return (
        <Facts
          rows={[
            ["Status", fact.status],
            ["Code", fact.code && <code>{fact.code}</code>],
            ["Shown to the customer", fact.message],
            ["Correlation id", <code key="id">{fact.correlation_id}</code>],
            ["Duration", duration(fact.duration_ms)],
            [
              "First token after",
              fact.first_token_ms === null ? null : duration(fact.first_token_ms),
            ],
            ["Model calls", fact.model_calls],
            ["Tokens in", fact.input_tokens.toLocaleString("en-GB")],
            ["Tokens out", fact.output_tokens.toLocaleString("en-GB")],
          ]}
        />
      );
    case "agent_changed":
      return (
        <Facts
          rows={[
            ["From", fact.before],
            ["To", fact.after],
            ["Reason", fact.reason],
          ]}
        />
      );
    case "connection_asked":
      return (
        <Facts
          rows={[
            ["To be done", fact.title],
            ["Security scheme", fact.scheme],
            ["API", <code key="id">{fact.spec_id}</code>],
          ]}
        />
      );
    case "handoff_asked":
      return (
        <Facts
          rows={[
            ["Reason", fact.reason.replaceAll("_", " ")],
            ["Note", fact.note],
            ["Asked by", fact.by],
          ]}
        />
      );
    case "person_took_over":
      return (
        <Facts
          rows={[
            ["Name", fact.name],
            ["Id", <code key="id">{fact.by}</code>],
          ]}
        />
      );
    case "given_back":
      return (
        <Facts
          rows={[
            ["Name", fact.name],
            ["Remark for the agents", fact.remark],
          ]}
        />
      );
    case "consent_given":
      return (
        <Facts
          rows={[
            ["Operation", <code key="operation">{fact.operation}</code>],
            ["Valid until", dayAndTime(fact.expires_at)],
          ]}
        />
      );
    case "model_switched":
      return (
        <Facts
          rows={[
            ["From", fact.before],
            ["To", fact.after],
            ["Because of", <code key="code">{fact.code}</code>],
          ]}
        />
      );
    case "consent_revoked":
    case "turn_parked":
    case "turn_taken_over":
    case "thread_resolved":
    case "thread_abandoned":
      return null;
    default:
      fact satisfies never;
      return null;
  }
}

const FOUND_OUT: Record<FactOf<"call_resolved">["how"], string> = {
  key: "asked again with the same idempotency key",
  lookup: "looked up",
  status: "asked how far it has come",
  person: "a person looked",
};

/** A call as a whole: what it was given, each attempt, what came back. */
function CallDetails({ callId, steps, onSelect }: { callId: string } & Omit<AboutProps, "fact">) {
  const own = steps.filter(({ fact }) => "tool_call_id" in fact && fact.tool_call_id === callId);
  const find = <Type extends Fact["type"]>(type: Type) =>
    own.find(({ fact }) => fact.type === type)?.fact as FactOf<Type> | undefined;
  const called = find("tool_called");
  const returned = find("tool_returned");
  const resolved = find("call_resolved");
  const attempts = own.filter(({ fact }) => fact.type === "attempt_made");
  return (
    <>
      {called && (
        <>
          <Facts
            rows={[
              ["Tool", <code key="tool">{called.tool}</code>],
              ["Operation", called.operation && <code>{called.operation}</code>],
              ["Access", called.access],
            ]}
          />
          <h3 className={classes.part}>Arguments from the model</h3>
          <Json value={called.arguments} label="Arguments" />
        </>
      )}
      {attempts.length > 0 && (
        <>
          <h3 className={classes.part}>Attempts</h3>
          <ul className={classes.attempts}>
            {attempts.map((attempt) => (
              <li key={attempt.seq}>
                <button
                  type="button"
                  onClick={() => onSelect(attempt.seq)}
                  data-tone={attempt.tone}
                >
                  <span>{attempt.title}</span>
                  <span>{attempt.detail}</span>
                </button>
              </li>
            ))}
          </ul>
        </>
      )}
      {returned ? (
        <>
          <h3 className={classes.part}>
            Result: {returned.outcome}
            {returned.code && <code> {returned.code}</code>}
          </h3>
          <Json value={parsed(returned.content)} label="Result" />
          {resolved !== undefined ? (
            <p className={classes.quiet}>
              Found out since, by {resolved.by}: it was{" "}
              {resolved.resolution === "done" ? "done" : "not done"}.
            </p>
          ) : (
            returned.outcome === "unknown" && <ResolveCall callId={callId} />
          )}
        </>
      ) : (
        <p className={classes.quiet}>No result is recorded for this call.</p>
      )}
    </>
  );
}

function Facts({ rows }: { rows: readonly (readonly [string, ReactNode])[] }) {
  const told = rows.filter(([, value]) => value !== null && value !== undefined && value !== "");
  if (told.length === 0) return null;
  return (
    <dl className={classes.definitions}>
      {told.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

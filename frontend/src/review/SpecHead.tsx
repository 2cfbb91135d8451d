import { Button, TextInput } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { type ReactNode, useState } from "react";
import { type Problem, problemOf, type Spec, useSession } from "../api/client";
import { ProblemBanner } from "../ui/ErrorBanner";
import { Icon } from "../ui/icons";
import { plural } from "../ui/time";
import { CredentialsPanel } from "./CredentialsPanel";
import { Skipped } from "./ImportPanel";
import classes from "./review.module.css";

interface SpecHeadProps {
  spec: Spec;
  /** Of all operations; null while they are loaded. */
  left: number | null;
  total: number;
  children: ReactNode;
}

/** Which document this is, where its API is, and how far the review has come. */
export function SpecHead({ spec, left, total, children }: SpecHeadProps) {
  return (
    <header className={classes.head}>
      <div className={classes.headLine}>
        <Link to="/review" className={classes.back} aria-label="All APIs">
          <Icon name="back" />
        </Link>
        <div className={classes.headText}>
          <h1 className={classes.title}>{spec.name}</h1>
          <BaseUrl spec={spec} />
          <CredentialsPanel specId={spec.id} />
        </div>
        {children}
      </div>
      {left !== null && (
        <p className={classes.progress}>
          <strong>
            {left === 0
              ? `All ${plural(total, "operation")} decided`
              : `${left.toLocaleString("en-GB")} of ${total.toLocaleString("en-GB")} left`}
          </strong>
          <progress aria-label="Decided" value={total - left} max={Math.max(1, total)} />
          <span className={classes.quiet}>What is not approved cannot be called.</span>
        </p>
      )}
      <Skipped spec={spec} />
    </header>
  );
}

function BaseUrl({ spec }: { spec: Spec }) {
  const { api } = useSession();
  const queries = useQueryClient();
  const [text, setText] = useState<string | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const save = async (base_url: string) => {
    const { error } = await api.client
      .PUT("/api/specs/{spec_id}/base-url", {
        params: { path: { spec_id: spec.id } },
        body: { base_url },
      })
      .catch((failure: unknown) => ({ error: failure }));
    setProblem(error === undefined ? null : problemOf(error));
    if (error !== undefined) return;
    setText(null);
    await queries.invalidateQueries({ queryKey: ["get", "/api/specs/{spec_id}"] });
  };
  if (text === null)
    return (
      <p className={classes.facts}>
        {spec.base_url ? (
          <span className={classes.address}>{spec.base_url}</span>
        ) : (
          <strong className={classes.by}>
            <Icon name="warning" size={14} /> Nobody has said where its API is
          </strong>
        )}
        <Button
          size="compact-xs"
          variant="default"
          aria-label={spec.base_url ? "Change the base URL" : "Set the base URL"}
          onClick={() => setText(spec.base_url ?? "")}
        >
          {spec.base_url ? "Change" : "Set the base URL"}
        </Button>
      </p>
    );
  return (
    <form
      className={classes.baseUrl}
      onSubmit={(event) => {
        event.preventDefault();
        void save(text.trim());
      }}
    >
      <TextInput
        size="xs"
        type="url"
        required
        autoFocus
        aria-label="Base URL"
        value={text}
        onChange={(event) => setText(event.currentTarget.value)}
      />
      <Button size="xs" type="submit">
        Save
      </Button>
      <Button
        size="xs"
        variant="default"
        onClick={() => {
          setText(null);
          setProblem(null);
        }}
      >
        Cancel
      </Button>
      {problem && <ProblemBanner problem={problem} />}
    </form>
  );
}

import { Button, Group, PasswordInput, Select, Skeleton, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import {
  type Credentials,
  type GivenCredential,
  problemOf,
  type SchemeCredential,
  useSession,
} from "../api/client";
import { ProblemBanner } from "../ui/ErrorBanner";
import { dayAndTime, plural } from "../ui/time";
import { CredentialTest } from "./CredentialTest";
import classes from "./credentials.module.css";
import { Environments } from "./Environments";
import { SidePanel } from "./SidePanel";
import { keyOf, useChange } from "./useCredentials";

const STATES: Record<SchemeCredential["state"], string> = {
  set: "Set",
  missing: "Not set",
  stale: "Must be given again",
  refused: "Cannot be used",
};

const TYPES: Record<SchemeCredential["type"], string> = {
  apiKey: "API key",
  basic: "HTTP basic",
  bearer: "Bearer token",
  oauth2: "OAuth 2.0",
  openIdConnect: "OpenID Connect",
  refused: "Not supported",
};

const FLOWS = {
  clientCredentials: "As the company (client credentials)",
  authorizationCode: "Each customer connects their account",
} as const;

/** What opens an API: given here, never shown again. */
export function CredentialsPanel({ specId }: { specId: string }) {
  const [opened, setOpened] = useState(false);
  return (
    <>
      <Button size="compact-xs" variant="default" onClick={() => setOpened(true)}>
        Credentials
      </Button>
      <SidePanel title="Credentials" opened={opened} onClose={() => setOpened(false)}>
        {opened && <Ring specId={specId} />}
      </SidePanel>
    </>
  );
}

function Ring({ specId }: { specId: string }) {
  const { api } = useSession();
  const ring = useQuery({
    queryKey: keyOf(specId),
    queryFn: async ({ signal }) => {
      const { data, error } = await api.client.GET("/api/specs/{spec_id}/credentials", {
        params: { path: { spec_id: specId } },
        signal,
      });
      if (data === undefined) throw error;
      return data;
    },
  });
  if (ring.isError)
    return <ProblemBanner problem={problemOf(ring.error)} retry={() => void ring.refetch()} />;
  if (ring.data === undefined)
    return <Skeleton height={160} radius="md" aria-label="Loading credentials" />;
  const { schemes, headers, trouble, environment, environments, schemes_read } = ring.data;
  return (
    <>
      <Environments specId={specId} environments={environments} />
      <p className={classes.facts}>
        For the environment <strong>{environment}</strong>. Secrets are sealed, sent to the servers
        that they are given for alone, and never shown again.
      </p>
      {trouble !== null && (
        <p className={classes.facts} role="alert">
          <strong>{plural(trouble.count, "call")} failed</strong> since {dayAndTime(trouble.since)},
          the last one {trouble.operation}: {trouble.reason} Correlation id{" "}
          <code>{trouble.correlation_id}</code>
        </p>
      )}
      {!schemes_read && (
        <p className={classes.facts}>Import the document again to see what it asks for.</p>
      )}
      {schemes_read && schemes.length === 0 && (
        <p className={classes.facts}>The document asks for no credentials.</p>
      )}
      <ul className={classes.list} aria-label="Security schemes">
        {schemes.map((scheme) => (
          <Scheme key={scheme.name} specId={specId} scheme={scheme} />
        ))}
      </ul>
      <h3>Headers of every request</h3>
      <Headers specId={specId} headers={headers} />
    </>
  );
}

function Scheme({ specId, scheme }: { specId: string; scheme: SchemeCredential }) {
  const { api } = useSession();
  const [editing, setEditing] = useState(false);
  const [testing, setTesting] = useState(false);
  const { problem, busy, change } = useChange(specId);
  const path = { spec_id: specId, scheme: scheme.name };
  const give = async (body: GivenCredential) => {
    const given = await change(() =>
      api.client.PUT("/api/specs/{spec_id}/credentials/{scheme}", { params: { path }, body }),
    );
    if (given) setEditing(false);
  };
  const there = scheme.set_by !== null;
  return (
    <li className={classes.one}>
      <div className={classes.head}>
        <strong>{scheme.name}</strong>
        <span className={classes.state}>{STATES[scheme.state]}</span>
      </div>
      <p className={classes.facts}>
        {TYPES[scheme.type]}
        {scheme.parameter !== null && ` ${scheme.parameter} (${scheme.place})`}, used by{" "}
        {plural(scheme.operations, "operation")}
        {scheme.description && <> · {scheme.description}</>}
      </p>
      {scheme.reason !== null && <p className={classes.facts}>{scheme.reason}</p>}
      {there && (
        <p className={classes.facts}>
          {scheme.hint ?? ""} {scheme.client_id} set by {scheme.set_by}
          {scheme.set_at !== null && `, ${dayAndTime(scheme.set_at)}`}, for{" "}
          {scheme.origins.join(", ")}
          {scheme.token_server !== null && ` and the sign-in server ${scheme.token_server}`}
          {scheme.flow === "authorizationCode" &&
            ` · ${plural(scheme.connected, "customer")} connected`}
        </p>
      )}
      {editing ? (
        <SchemeForm
          scheme={scheme}
          busy={busy}
          onGive={(given) => void give(given)}
          onCancel={() => setEditing(false)}
        />
      ) : (
        scheme.state !== "refused" && (
          <Group gap="xs">
            <Button
              size="compact-xs"
              variant="default"
              aria-label={`${there ? "Replace" : "Set"} ${scheme.name}`}
              onClick={() => setEditing(true)}
            >
              {there ? "Replace" : "Set"}
            </Button>
            {scheme.state === "set" && scheme.flow !== "authorizationCode" && (
              <Button
                size="compact-xs"
                variant="default"
                aria-label={`Test ${scheme.name}`}
                aria-expanded={testing}
                onClick={() => setTesting(!testing)}
              >
                Test
              </Button>
            )}
            {there && (
              <Button
                size="compact-xs"
                variant="default"
                loading={busy}
                aria-label={`Delete ${scheme.name}`}
                onClick={() =>
                  void change(() =>
                    api.client.DELETE("/api/specs/{spec_id}/credentials/{scheme}", {
                      params: { path },
                    }),
                  )
                }
              >
                Delete
              </Button>
            )}
          </Group>
        )
      )}
      {testing && !editing && scheme.state === "set" && (
        <CredentialTest specId={specId} scheme={scheme} />
      )}
      {problem && <ProblemBanner problem={problem} />}
    </li>
  );
}

interface SchemeFormProps {
  scheme: SchemeCredential;
  busy: boolean;
  onGive: (given: GivenCredential) => void;
  onCancel: () => void;
}

function SchemeForm({ scheme, busy, onGive, onCancel }: SchemeFormProps) {
  const { type, flows } = scheme;
  const [flow, setFlow] = useState<keyof typeof FLOWS | null>(
    scheme.flow ?? (flows.length === 1 ? (flows[0] ?? null) : null),
  );
  const give = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const text = (name: string) => String(form.get(name) ?? "") || null;
    if (type === "basic")
      onGive({ username: text("username"), password: text("password"), in_body: false });
    else if (type === "oauth2" || type === "openIdConnect")
      onGive({
        client_id: text("client_id"),
        client_secret: text("client_secret"),
        flow,
        in_body: false,
      });
    else onGive({ value: text("value"), in_body: false });
  };
  return (
    <form className={classes.form} onSubmit={give} autoComplete="off">
      {(type === "apiKey" || type === "bearer") && (
        <PasswordInput name="value" label={TYPES[type]} required autoComplete="new-password" />
      )}
      {type === "basic" && (
        <>
          <TextInput name="username" label="Username" required autoComplete="off" />
          <PasswordInput name="password" label="Password" autoComplete="new-password" />
        </>
      )}
      {(type === "oauth2" || type === "openIdConnect") && (
        <>
          <Select
            label="Who is signed in"
            data={flows.map((value) => ({ value, label: FLOWS[value] }))}
            value={flow}
            onChange={(value) => setFlow(value as keyof typeof FLOWS | null)}
            required
          />
          <TextInput name="client_id" label="Client id" required autoComplete="off" />
          <PasswordInput name="client_secret" label="Client secret" autoComplete="new-password" />
        </>
      )}
      <Group gap="xs">
        <Button size="xs" type="submit" loading={busy}>
          Save
        </Button>
        <Button size="xs" variant="default" onClick={onCancel}>
          Cancel
        </Button>
      </Group>
    </form>
  );
}

const CLAIMS = [
  { value: "", label: "A fixed value" },
  { value: "customer_id", label: "The customer's id" },
  { value: "email", label: "The customer's email" },
  { value: "name", label: "The customer's name" },
];

function Headers({ specId, headers }: { specId: string; headers: Credentials["headers"] }) {
  const { api } = useSession();
  const { problem, busy, change } = useChange(specId);
  const [claim, setClaim] = useState("");
  const give = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const target = event.currentTarget;
    const form = new FormData(target);
    const header = String(form.get("header") ?? "").trim();
    const value = String(form.get("value") ?? "");
    const given = await change(() =>
      api.client.PUT("/api/specs/{spec_id}/headers/{header}", {
        params: { path: { spec_id: specId, header } },
        body: claim === "" ? { value } : { claim },
      }),
    );
    if (given) target.reset();
  };
  return (
    <>
      <ul className={classes.list} aria-label="Headers">
        {headers.map(({ name, claim: filled, hint, set_by, set_at }) => (
          <li key={name} className={classes.one}>
            <div className={classes.head}>
              <strong>{name}</strong>
              <Button
                size="compact-xs"
                variant="default"
                aria-label={`Delete ${name}`}
                onClick={() =>
                  void change(() =>
                    api.client.DELETE("/api/specs/{spec_id}/headers/{header}", {
                      params: { path: { spec_id: specId, header: name } },
                    }),
                  )
                }
              >
                Delete
              </Button>
            </div>
            <p className={classes.facts}>
              {filled === null ? `Fixed ${hint}` : `The customer's ${filled}`}, set by {set_by},{" "}
              {dayAndTime(set_at)}
            </p>
          </li>
        ))}
      </ul>
      <form className={classes.form} onSubmit={(event) => void give(event)} autoComplete="off">
        <TextInput name="header" label="Header" required autoComplete="off" />
        <Select
          label="Filled with"
          data={CLAIMS}
          value={claim}
          allowDeselect={false}
          onChange={(value) => setClaim(value ?? "")}
        />
        {claim === "" && (
          <PasswordInput name="value" label="Value" required autoComplete="new-password" />
        )}
        <div>
          <Button size="xs" type="submit" loading={busy}>
            Add
          </Button>
        </div>
      </form>
      {problem && <ProblemBanner problem={problem} />}
    </>
  );
}

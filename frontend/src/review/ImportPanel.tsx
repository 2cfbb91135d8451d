import { Button, TextInput } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { type DragEvent, useEffect, useRef, useState } from "react";
import { type ImportResult, type Problem, problemOf, useSession } from "../api/client";
import { ProblemBanner } from "../ui/ErrorBanner";
import { Icon } from "../ui/icons";
import { plural } from "../ui/time";
import { archiveOf, filesIn, NotADocument, single } from "./folder";
import classes from "./review.module.css";
import { bytes } from "./words";

type Stage =
  | { at: "idle" }
  | { at: "sending"; what: string; sent: number; total: number }
  | { at: "reading"; what: string; since: number; importId: string }
  | { at: "done"; result: ImportResult }
  | { at: "gathering" }
  | { at: "unusable"; why: string }
  | { at: "failed"; problem: Problem };

/** A document in, by file or by address, and what came of it. */
export function ImportPanel() {
  const { api, token, upload } = useSession();
  const queries = useQueryClient();
  const [stage, setStage] = useState<Stage>({ at: "idle" });
  const [url, setUrl] = useState("");
  const [name, setName] = useState("");
  const [over, setOver] = useState(false);
  const stop = useRef<AbortController | null>(null);
  const picker = useRef<HTMLInputElement>(null);
  useEffect(() => () => stop.current?.abort(), []);
  const busy = stage.at === "sending" || stage.at === "reading" || stage.at === "gathering";

  const start = async (work: (signal: AbortSignal) => Promise<ImportResult>) => {
    const own = new AbortController();
    stop.current = own;
    try {
      const result = await work(own.signal);
      setStage({ at: "done", result });
      setUrl("");
      await queries.invalidateQueries();
    } catch (error) {
      setStage(own.signal.aborted ? { at: "idle" } : { at: "failed", problem: problemOf(error) });
    }
  };
  const sendFile = (file: File) => {
    const importId = crypto.randomUUID();
    setStage({ at: "sending", what: file.name, sent: 0, total: file.size });
    void start((signal) =>
      upload({
        token,
        file,
        name: name.trim(),
        importId,
        signal,
        onProgress: (sent, total) =>
          setStage(
            sent < total
              ? { at: "sending", what: file.name, sent, total }
              : { at: "reading", what: file.name, since: Date.now(), importId },
          ),
      }),
    );
  };
  const sendUrl = () => {
    const importId = crypto.randomUUID();
    setStage({ at: "reading", what: url, since: Date.now(), importId });
    void start(async (signal) => {
      const { data, error } = await api.client.POST("/api/specs/from-url", {
        params: { query: { import_id: importId } },
        body: { url: url.trim(), name: name.trim() || null },
        signal,
      });
      if (data === undefined) throw error;
      return data;
    });
  };
  const onDrop = (event: DragEvent) => {
    event.preventDefault();
    setOver(false);
    if (busy) return;
    // What was dropped is gone from the event after this; entries and files stay.
    const file = event.dataTransfer.files[0];
    const entries = [...event.dataTransfer.items]
      .map((item) => item.webkitGetAsEntry())
      .filter((entry) => entry !== null);
    if (entries.length === 0 || single(entries)) {
      if (file !== undefined) sendFile(file);
      return;
    }
    setStage({ at: "gathering" });
    filesIn(entries)
      .then((files) => sendFile(archiveOf(files, entries[0]?.name ?? "documents")))
      .catch((error: unknown) =>
        setStage({
          at: "unusable",
          why:
            error instanceof NotADocument
              ? error.message
              : "The browser does not let this page read what was dropped.",
        }),
      );
  };

  return (
    <section className={classes.import} aria-label="Import a document">
      {/* biome-ignore lint/a11y/noStaticElementInteractions: the button in it does the same */}
      <div
        className={classes.drop}
        data-over={over}
        onDragOver={(event) => {
          event.preventDefault();
          setOver(true);
        }}
        onDragLeave={() => setOver(false)}
        onDrop={onDrop}
      >
        <input
          ref={picker}
          type="file"
          hidden
          aria-label="OpenAPI document"
          accept=".json,.yaml,.yml,.zip,.tar,.tgz,.gz,application/json,application/yaml"
          onChange={(event) => {
            const file = event.currentTarget.files?.[0];
            event.currentTarget.value = "";
            if (file !== undefined) sendFile(file);
          }}
        />
        <Button
          disabled={busy}
          leftSection={<Icon name="plus" size={16} />}
          onClick={() => picker.current?.click()}
        >
          Choose a document
        </Button>
        <span className={classes.quiet}>
          or drop it here: OpenAPI 3.0 to 3.2 or Swagger 2.0, JSON or YAML; several files as a
          folder, ZIP or TAR
        </span>
      </div>
      <form
        className={classes.fromUrl}
        onSubmit={(event) => {
          event.preventDefault();
          sendUrl();
        }}
      >
        <TextInput
          label="or its address"
          type="url"
          required
          placeholder="https://api.example.com/openapi.json"
          disabled={busy}
          value={url}
          onChange={(event) => setUrl(event.currentTarget.value)}
        />
        <TextInput
          label="Name"
          placeholder="Its own title"
          description={undefined}
          maxLength={100}
          pattern="[\w .()\/\-]+"
          disabled={busy}
          value={name}
          onChange={(event) => setName(event.currentTarget.value)}
        />
        <Button type="submit" variant="default" disabled={busy}>
          Fetch
        </Button>
      </form>
      <p className={classes.quiet}>
        The same name again is a new version: what is unchanged keeps its decision.
      </p>
      {stage.at === "gathering" && (
        <p className={classes.quiet} role="status">
          Gathering what was dropped
        </p>
      )}
      {stage.at === "unusable" && (
        <p className={classes.quiet} role="alert">
          {stage.why}
        </p>
      )}
      {(stage.at === "sending" || stage.at === "reading") && (
        <Going stage={stage} onCancel={() => stop.current?.abort()} />
      )}
      {stage.at === "failed" && <ProblemBanner problem={stage.problem} />}
      {stage.at === "done" && <Done result={stage.result} />}
    </section>
  );
}

interface GoingProps {
  stage: Extract<Stage, { at: "sending" | "reading" }>;
  onCancel: () => void;
}

function Going({ stage, onCancel }: GoingProps) {
  return (
    <div className={classes.going}>
      {stage.at === "sending" ? <Sending stage={stage} /> : <Reading stage={stage} />}
      <Button size="compact-sm" variant="default" onClick={onCancel}>
        Cancel
      </Button>
    </div>
  );
}

function Sending({ stage }: { stage: Extract<Stage, { at: "sending" }> }) {
  const words = `${bytes(stage.sent)} of ${bytes(stage.total)}`;
  return (
    <>
      <label>
        <span role="status">Sending {stage.what}</span>
        <progress
          aria-label={`Sending ${stage.what}: ${words}`}
          value={stage.sent}
          max={Math.max(1, stage.total)}
        />
      </label>
      <span className={classes.quiet}>{words}</span>
    </>
  );
}

const STAGES = {
  // Small documents are done before this is asked for once; another process knows it of its own.
  unknown: "Reading",
  reading: "Reading",
  converting: "Converting",
  locating: "Finding the lines of",
  storing: "Storing",
};

function Reading({ stage }: { stage: Extract<Stage, { at: "reading" }> }) {
  const { api } = useSession();
  const progress = api.query.useQuery(
    "get",
    "/api/imports/{import_id}",
    { params: { path: { import_id: stage.importId } } },
    { refetchInterval: 700, retry: false, gcTime: 0 },
  ).data;
  const doing = STAGES[progress?.stage ?? "unknown"];
  const known = progress !== undefined && progress.total > 0;
  return (
    <>
      <label>
        <span role="status">
          {doing} {stage.what}
        </span>
        <progress
          aria-label={`${doing} ${stage.what}`}
          {...(known ? { value: progress.done, max: progress.total } : {})}
        />
      </label>
      {known ? (
        <span className={classes.quiet}>
          {progress.done} of {plural(progress.total, "operation")}
        </span>
      ) : (
        <Elapsed since={stage.since} />
      )}
    </>
  );
}

function Elapsed({ since }: { since: number }) {
  const [now, setNow] = useState(since);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1_000);
    return () => clearInterval(timer);
  }, []);
  const seconds = Math.floor((now - since) / 1_000);
  return (
    <span className={classes.quiet}>{seconds > 0 && `${seconds} s; large ones take a while`}</span>
  );
}

function Done({ result }: { result: ImportResult }) {
  const { spec, added, changed, removed, unchanged, breaking, turned_write } = result;
  return (
    <div className={classes.done} role="status">
      <p>
        <Icon name="check" size={18} /> <strong>{spec.name}</strong>: {added} added, {changed}{" "}
        changed, {removed} removed, {unchanged} unchanged.{" "}
        <Link to="/review/$specId" params={{ specId: spec.id }}>
          Review {plural(spec.waiting_count, "operation")}
        </Link>
      </p>
      {changed > 0 && (
        <p>
          Of the changed ones {breaking} break calls as they were made before, and {turned_write}{" "}
          were reads and are writes now. None can be called until you look.
        </p>
      )}
      <Skipped spec={spec} />
      {spec.base_url === null && (
        <p>The document does not say where its API is: set the base URL before you approve.</p>
      )}
    </div>
  );
}

/** What of a document cannot be used, or does not count, and why. */
export function Skipped({ spec }: { spec: ImportResult["spec"] }) {
  if (spec.skipped.length === 0) return null;
  return (
    <details className={classes.fold}>
      <summary>{plural(spec.skipped.length, "remark")} on the document</summary>
      <ul className={classes.skipped}>
        {spec.skipped.map(({ key, reason, line }, index) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: a document can leave out one key twice
          <li key={index}>
            <code>{key}</code> {line != null && <span>(line {line})</span>} {reason}
          </li>
        ))}
      </ul>
    </details>
  );
}

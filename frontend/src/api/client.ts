/** The REST client, generated from the backend's own OpenAPI document, and its words for failures. */

import createFetchClient, { type Middleware } from "openapi-fetch";
import createQueryClient from "openapi-react-query";
import { createContext, useContext } from "react";
import type { components, paths } from "./schema.gen";
import type { OpenSocket } from "./socket";
import type { Upload } from "./upload";

type Json<Operation> = Operation extends {
  responses: { 200: { content: { "application/json": infer Body } } };
}
  ? Body
  : never;

export type Person = Json<paths["/api/me"]["get"]>;
export type Role = Person["role"];
export type Thread = Json<paths["/api/threads/{thread_id}"]["get"]>;
export type ThreadStatus = Thread["status"];
export type ReplayPage = Json<paths["/api/threads/{thread_id}/replay"]["get"]>;
export type ReplayEvent = ReplayPage["events"][number];
export type Fact = ReplayEvent["fact"];
export type Approval = Json<paths["/api/approvals"]["get"]>["approvals"][number];
export type Spec = Json<paths["/api/specs/{spec_id}"]["get"]>;
export type Operation = Json<paths["/api/specs/{spec_id}/operations"]["get"]>["operations"][number];
export type OperationDetail = Json<paths["/api/operations/{operation_id}"]["get"]>;
export type DryRunResult = Json<paths["/api/operations/{operation_id}/dry-run"]["post"]>;
export type Evidence = Json<paths["/api/operations/{operation_id}/evidence"]["get"]>;
export type DecisionBatch = Json<paths["/api/specs/{spec_id}/decisions"]["get"]>["batches"][number];
export type OperationDecision =
  paths["/api/specs/{spec_id}/decisions"]["post"]["requestBody"]["content"]["application/json"]["decisions"][number];
export type Credentials = Json<paths["/api/specs/{spec_id}/credentials"]["get"]>;
export type SchemeCredential = Credentials["schemes"][number];
export type GivenCredential =
  paths["/api/specs/{spec_id}/credentials/{scheme}"]["put"]["requestBody"]["content"]["application/json"];
export type ImportResult =
  paths["/api/specs"]["post"]["responses"][201]["content"]["application/json"];
export type Conflict = components["schemas"]["ConflictingReview"];
export type FactOf<Type extends Fact["type"]> = Extract<Fact, { type: Type }>;

/** A failure in words for a person, with what an operator needs to find it. */
export interface Problem {
  code: string;
  title: string;
  detail: string;
  status: number | null;
  correlation_id: string | null;
  /** Seconds. */
  retry_after: number | null;
  /** Of a decision that came too late: who changed what. */
  conflicts?: Conflict[];
}

export class NotAnAnswer extends Error {
  constructor(readonly status: number) {
    super(`the server answered ${status} without saying why`);
  }
}

/** What any failure of a request means. Total. */
export function problemOf(error: unknown): Problem {
  if (error instanceof NotAnAnswer)
    return {
      code: "SERVER_DOWN",
      title: "The service is not available",
      detail: `It answered ${error.status}. It may be starting or being updated.`,
      status: error.status,
      correlation_id: null,
      retry_after: null,
    };
  if (typeof error === "object" && error !== null && "code" in error && "title" in error) {
    const { code, title, detail, status, correlation_id, retry_after, conflicts } =
      error as Partial<Problem>;
    return {
      code: String(code),
      title: String(title),
      detail: detail ?? "",
      status: status ?? null,
      correlation_id: correlation_id ?? null,
      retry_after: retry_after ?? null,
      ...(conflicts ? { conflicts } : {}),
    };
  }
  return {
    code: "UNREACHABLE",
    title: "The service cannot be reached",
    detail: "Check the connection, then try again.",
    status: null,
    correlation_id: null,
    retry_after: null,
  };
}

/** No such thing, whether by its id or because the id is none. */
export const isMissing = ({ status }: Problem) => status === 404 || status === 422;

export interface ApiOptions {
  fetch: (request: Request) => Promise<Response>;
  token: string;
  onSignedOut: () => void;
}

export function createApi({ fetch, token, onSignedOut }: ApiOptions) {
  const signed: Middleware = {
    onRequest({ request }) {
      request.headers.set("Authorization", `Bearer ${token}`);
      return request;
    },
    onResponse({ response }) {
      if (response.status === 401) onSignedOut();
      const isJson = response.headers.get("content-type")?.includes("json") ?? false;
      if (!response.ok && !isJson) throw new NotAnAnswer(response.status);
    },
  };
  const client = createFetchClient<paths>({ baseUrl: window.location.origin, fetch });
  client.use(signed);
  return { client, query: createQueryClient(client) };
}

export type Api = ReturnType<typeof createApi>;

/** What every page stands on once somebody is signed in. */
export interface Session {
  api: Api;
  token: string;
  me: Person;
  openSocket: OpenSocket;
  upload: Upload;
  /** Of this tab; emptied at sign-out. */
  storage: Storage;
  signOut: () => void;
  /** The token is no longer good. */
  expire: () => void;
}

export const SessionContext = createContext<Session | null>(null);

export function useSession(): Session {
  const session = useContext(SessionContext);
  if (session === null) throw new Error("no session above this component");
  return session;
}

/** A document under review, as a server that remembers keeps it. */

import type {
  Conflict,
  DecisionBatch,
  ImportResult,
  Operation,
  OperationDecision,
  OperationDetail,
  Spec,
} from "../src/api/client";

export const SPEC = "0193a5c0-0000-7000-8000-00000000abcd";
const idOf = (n: number) => `0193a5c0-0000-7000-8000-${String(n).padStart(12, "0")}`;

export function specOf(more: Partial<Spec> = {}): Spec {
  return {
    id: SPEC,
    name: "Shop",
    title: "Shop",
    version_text: "1.4",
    dialect: "3.1.0",
    source: "shop.yaml",
    hash: "abc",
    base_url: "https://api.shop.example",
    imported_at: "2026-11-23T18:00:00Z",
    operation_count: 0,
    waiting_count: 0,
    skipped: [],
    ...more,
  };
}

type Classification = Operation["classification"];

export function classified(more: Partial<Classification> = {}): Classification {
  return {
    access: "read",
    confirm: false,
    agent: "support",
    bindings: {},
    risk: "low",
    idempotency_header: null,
    idempotency_lifetime_s: null,
    repeatable: null,
    lookup: null,
    status: null,
    breaker_group: null,
    cacheable_s: null,
    confirm_locked: false,
    reasons: ["GET only reads."],
    unbindable: false,
    approval_rules: { standing_consent: false, thresholds: [], limits: [] },
    answer_fields: [],
    pagination: null,
    ...more,
  };
}

const WRITE = classified({
  access: "write",
  confirm: true,
  risk: "medium",
  reasons: ["POST may change something."],
});
const MONEY = classified({
  ...WRITE,
  risk: "high",
  confirm_locked: true,
  reasons: ["POST may change something.", "It concerns money (“refund”)."],
});
const DOUBTFUL = classified({
  ...WRITE,
  reasons: ["GET should only read, but its name says “cancel”."],
});

export function operationOf(n: number, more: Partial<Operation> = {}): Operation {
  const kinds = [
    ["GET", "", classified()],
    ["POST", "", WRITE],
    ["GET", "/history", classified()],
    ["POST", "/refunds", MONEY],
    ["GET", "/cancel", DOUBTFUL],
  ] as const;
  const [method, end, suggestion] = kinds[n % 5] ?? kinds[0];
  const path = `/things/${n}${end}`;
  return {
    id: idOf(n),
    spec_id: SPEC,
    key: `${method} ${path}`,
    method,
    path,
    operation_id: `thing${n}`,
    tool_name: `thing_${n}`,
    summary: `Thing number ${n}`,
    description: `What thing ${n} does.`,
    tags: [n % 2 === 0 ? "even" : "odd"],
    deprecated: false,
    pointer: `#/paths/~1things~1${n}/${method.toLowerCase()}`,
    suggestion,
    classification: suggestion,
    state: "pending",
    decided_by: null,
    decided_at: null,
    decision_reason: null,
    version: 1,
    schema_bytes: 420,
    tokens: 105,
    clear: true,
    breaking: false,
    turned_write: false,
    ...more,
  };
}

interface Made {
  batch: DecisionBatch;
  before: Operation[];
}

/** Remembers operations and decisions, and refuses what comes too late, as the product does. */
export function reviewDesk(operations: Operation[], spec: Spec = specOf()) {
  const now = new Map(operations.map((operation) => [operation.id, operation]));
  const made: Made[] = [];
  const bodies: OperationDecision[][] = [];
  let count = 0;

  const write = (next: Operation[], undoes: string | null, reason: string | null) => {
    count += 1;
    const batch_id = `0193a5c0-0000-7000-9000-${String(count).padStart(12, "0")}`;
    const before = next.map(({ id }) => now.get(id) as Operation);
    for (const operation of next) now.set(operation.id, operation);
    const first = next[0] as Operation;
    for (const one of made)
      if (one.before.some(({ id }) => next.some((each) => each.id === id)))
        one.batch = { ...one.batch, undoable: false };
    made.unshift({
      before,
      batch: {
        batch_id,
        at: "2026-11-23T18:30:00Z",
        by: "op_lu",
        states: [...new Set(next.map(({ state }) => state))],
        count: next.length,
        first_key: first.key,
        reason,
        undoes,
        undoable: true,
      },
    });
    return { batch_id, operations: next };
  };

  return {
    spec: () => ({
      ...spec,
      operation_count: now.size,
      waiting_count: [...now.values()].filter(({ state }) => /pending|changed/.test(state)).length,
    }),
    all: () => [...now.values()],
    get: (id: string) => now.get(id),
    bodies,
    /** Somebody else decides. */
    overtake(id: string, by: string) {
      const before = now.get(id) as Operation;
      now.set(id, {
        ...before,
        state: "rejected",
        decided_by: by,
        decided_at: "2026-11-23T18:29:00Z",
        version: before.version + 1,
      });
    },
    /** The model doubts the suggestion. */
    advise(id: string) {
      const before = now.get(id) as Operation;
      now.set(id, { ...before, clear: false, version: before.version + 1 });
    },
    decide(decisions: OperationDecision[]): ReturnType<typeof write> | Conflict[] {
      bodies.push(decisions);
      const late = decisions.flatMap(({ operation_id, version }): Conflict[] => {
        const operation = now.get(operation_id) as Operation;
        const { key, state, decided_by, decided_at } = operation;
        const conflict = { operation_id, key, state, decided_by, decided_at };
        return operation.version === version ? [] : [{ ...conflict, version: operation.version }];
      });
      if (late.length > 0) return late;
      const next = decisions.map(({ operation_id, version, state, reason, ...change }) => {
        const operation = now.get(operation_id) as Operation;
        const corrected = Object.fromEntries(
          Object.entries(change).filter(([, value]) => value !== null && value !== undefined),
        );
        return {
          ...operation,
          state,
          classification: { ...operation.classification, ...corrected } as Classification,
          decided_by: "op_lu",
          decided_at: "2026-11-23T18:30:00Z",
          decision_reason: reason ?? null,
          version: version + 1,
        };
      });
      return write(next, null, decisions[0]?.reason ?? null);
    },
    undo(batchId: string) {
      const one = made.find(({ batch }) => batch.batch_id === batchId) as Made;
      const next = one.before.map((before) => ({
        ...before,
        version: (now.get(before.id) as Operation).version + 1,
      }));
      return write(next, batchId, "Undone.");
    },
    batches: () => made.map(({ batch }) => batch),
    detail(id: string): OperationDetail {
      const operation = now.get(id) as Operation;
      return {
        ...operation,
        tool_schema: { type: "object", properties: { thing_id: { type: "string" } } },
        arguments: ["thing_id", "customer_id"],
        claims: ["customer_id", "email", "name"],
        grounds: [],
        changes:
          operation.state === "changed"
            ? [
                {
                  field: "argument amount",
                  kind: "changed",
                  before: "optional, type number",
                  after: "required, type string",
                  breaking: true,
                },
                { field: "summary", kind: "changed", before: "Old", after: "New", breaking: false },
              ]
            : [],
        history: made
          .filter(({ before }) => before.some((each) => each.id === id))
          .map(({ batch }) => ({
            at: batch.at,
            by: batch.by,
            state: batch.states[0] ?? "pending",
            classification: operation.classification,
            reason: batch.reason,
            batch_id: batch.batch_id,
            undoes: batch.undoes,
          }))
          .reverse(),
      };
    },
    evidence(id: string) {
      const { pointer, path, method, suggestion } = now.get(id) as Operation;
      const own = [
        `    ${method.toLowerCase()}:`,
        "      summary: Asks for a refund",
        "      operationId: thing",
      ];
      return {
        source: "shop.yaml",
        pointer,
        document_line: 120,
        first_line: 119,
        lines: [`  ${path}:`, ...own, "  /next:"],
        highlight_first: 120,
        highlight_last: 122,
        reformatted: false,
        left_out: 0,
        grounds: suggestion.reasons.map((reason) => ({
          about: "access",
          reason,
          confidence: 0.95,
          place: "",
          quote: "",
          source: "rules" as const,
          line: 120,
        })),
      };
    },
  };
}

export type ReviewDesk = ReturnType<typeof reviewDesk>;

export function importedOf(spec: Spec, more: Partial<ImportResult> = {}): ImportResult {
  return {
    spec,
    added: 3,
    changed: 1,
    removed: 0,
    unchanged: 7,
    breaking: 1,
    turned_write: 0,
    ...more,
  };
}

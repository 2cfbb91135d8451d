import actions from "./errors.gen.json";

/** What the page does about an error, or offers to do; the catalogue is docs/errors.md. */
export type Action = "tell" | "retry" | "wait" | "reconnect" | "sign_in" | "hand_off";

const ACTIONS: ReadonlyMap<string, Action> = new Map(
  Object.entries(actions as Record<string, Action>),
);

/** What to do about a code; one that this page does not know yet may pass by itself. */
export function actionOf(code: string | null): Action {
  return ACTIONS.get(code ?? "") ?? "retry";
}

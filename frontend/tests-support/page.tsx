import { createMemoryHistory } from "@tanstack/react-router";
import axe from "axe-core";
import { expect, vi } from "vitest";
import { page } from "vitest/browser";
import { render } from "vitest-browser-react";
import { App } from "../src/app";
import type { FakeServer } from "./server";

/** A storage of this test's own. */
export function memoryStorage(entries: Record<string, string> = {}): Storage {
  for (const key of Object.keys(sessionStorage)) sessionStorage.removeItem(key);
  for (const [key, value] of Object.entries(entries)) sessionStorage.setItem(key, value);
  return sessionStorage;
}

interface Opened {
  path?: string;
  token?: string | null;
  width?: number;
  height?: number;
}

export async function openPage(server: FakeServer, opened: Opened = {}) {
  const { path = "/", token = "good", width = 1280, height = 800 } = opened;
  await page.viewport(width, height);
  const history = createMemoryHistory({ initialEntries: [path] });
  const storage = memoryStorage();
  const screen = await render(
    <App
      token={token}
      storage={storage}
      fetch={server.fetch}
      openSocket={server.openSocket}
      upload={server.upload}
      history={history}
    />,
  );
  return { screen, history, storage };
}

/** No finding of axe's, of any weight. */
export async function expectAccessible(): Promise<void> {
  // Colours that are still fading in would be measured half-way.
  await vi.waitFor(() => expect(document.getAnimations().length).toBe(0), 3_000);
  const { violations } = await axe.run(document.body, {
    // One page is tested at a time; the harness's own document is no page of ours.
    rules: { "page-has-heading-one": { enabled: true } },
  });
  const found = violations.map(
    ({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 160)).join(" | ")}`,
  );
  expect(found).toEqual([]);
}

/** Nothing sticks out of the window sideways. */
export function expectNoSidewaysScroll(): void {
  expect(document.documentElement.scrollWidth).toBeLessThanOrEqual(window.innerWidth);
  const tooWide = [...document.querySelectorAll("main, main > *, header")].filter(
    (element) => element.getBoundingClientRect().right > window.innerWidth + 1,
  );
  expect(tooWide).toEqual([]);
}

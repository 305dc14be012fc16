import { QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider, createMemoryHistory } from "@tanstack/react-router";
import { type RenderResult, render } from "@testing-library/react";
import type { ReactNode } from "react";
import { vi } from "vitest";

import { createQueries } from "@/app/queries";
import { createPages } from "@/app/router";

function queriesForTests(onLoginOver: () => void) {
  const queries = createQueries(onLoginOver);
  queries.setDefaultOptions({ queries: { retry: false } });
  return queries;
}

/** Draws a component that reads or changes what the API has. */
export function renderWithQueries(element: ReactNode): RenderResult {
  return render(<QueryClientProvider client={queriesForTests(vi.fn())}>{element}</QueryClientProvider>);
}

/** Opens the dashboard at an address, with its routes and layouts. */
export function renderAt(address: string) {
  const onLoginOver = vi.fn();
  const queries = queriesForTests(onLoginOver);
  const router = createPages(queries, createMemoryHistory({ initialEntries: [address] }));
  const drawn = render(
    <QueryClientProvider client={queries}>
      <RouterProvider router={router} />
    </QueryClientProvider>,
  );
  return { ...drawn, router, onLoginOver };
}

interface Props {
  /** An SVG document with one path, as the API draws it. */
  svg: string;
  label: string;
}

/** A QR code, drawn anew from its path: nothing else of the document gets into the page. Black on white in every theme. */
export function QrCode({ svg, label }: Props) {
  const document = new DOMParser().parseFromString(svg, "image/svg+xml");
  return (
    <svg
      role="img"
      aria-label={label}
      viewBox={document.documentElement.getAttribute("viewBox") ?? undefined}
      shapeRendering="crispEdges"
      className="size-48 rounded-lg"
    >
      <rect width="100%" height="100%" fill="#fff" />
      <path d={document.querySelector("path")?.getAttribute("d") ?? ""} fill="#000" />
    </svg>
  );
}

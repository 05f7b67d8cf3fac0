/** What the page uses of others. */
export { html, render } from "htm/preact";
export { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
export { default as WaveSurfer } from "wavesurfer.js";
export { default as Regions } from "wavesurfer.js/plugins/regions";
export { default as Spectrogram } from "wavesurfer.js/plugins/spectrogram";

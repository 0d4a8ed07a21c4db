// The words of the page in both languages, and which one is spoken.

const WORDS = {
  en: {
    tagline: "a sentence becomes music",
    language: "中文",
    open: "Open MIDI…",
    sentence: "What should it sound like?",
    sentenceHint: "A slow lullaby, high and soft",
    timeline: "Timeline",
    examples: "Examples",
    bars: "Bars",
    pieces: "Pieces",
    seed: "Seed",
    dice: "Another seed",
    advanced: "Advanced",
    best_of: "Drafts each",
    temperature: "Temperature",
    top_k: "Top k",
    top_p: "Top p",
    tilt: "Tilt",
    guidance_scale: "Guidance",
    strength: "Plan strength",
    transpose: "Transpose",
    compose: "Compose",
    cancel: "Cancel",
    welcome: "Write a sentence and press Compose. Or drop a MIDI file here.",
    play: "Play or pause (space)",
    volume: "Volume",
    zoomIn: "Zoom in",
    zoomOut: "Zoom out",
    zoomFit: "Show all",
    rollHint: "Click to play from there, drag over bars to choose them",
    change: "Change it",
    undo: "Undo",
    redo: "Redo",
    from: "Bar",
    to: "to",
    as: "like",
    asHint: "its own sentence, or another",
    again: "Write anew",
    after: "Continue by",
    before: "Introduction of",
    added: "Bars to add",
    asPlan: "Use as plan",
    api: "For programs",
    licences: "Licences",
    waiting: (n) => (n ? `${n} before you` : "thinking…"),
    written: (bars, total) => `${bars} of ${total} bars`,
    draft: "draft",
    keep: "Keep this one",
    candidate: (n) => `Piece ${n}`,
    version: (n) => `Version ${n}`,
    mute: "Mute",
    solo: "Solo",
    tempo: "Tempo",
    key: "Key",
    metre: "Metre",
    length: (n) => `${n} bars`,
    seconds: (n) => `${n} s`,
    addInstrument: "+ instrument",
    no: (name) => `no ${name}`,
    remove: "Remove",
    feel: "Feel",
    unkept: "Not kept: ",
    plan: (name) => `Follows the plan of “${name}”`,
    brought: "a MIDI file",
    copy: "Copy link",
    copied: "Copied",
    zip: "All (ZIP)",
    page: "Web page",
    shared: "Compose the shared piece",
    addSection: "+ section",
    silent: "No soundfont is installed on the server: there is no sound.",
    noRecipe: "This file does not say how a piece was made.",
    insecure: "Browsers play sound only from this machine itself or over https; take the WAV instead.",
    major: "major",
    minor: "minor",
    axes: {
      tempo: ["slow", "fast"],
      density: ["sparse", "dense"],
      register: ["low", "high"],
      leaps: ["stepwise", "leaping"],
      sustain: ["short", "sustained"],
      loudness: ["quiet", "loud"],
      mode: ["minor", "major"],
      drums: ["no drums", "drums"],
    },
  },
  zh: {
    tagline: "一句话，变成音乐",
    language: "English",
    open: "打开 MIDI…",
    sentence: "想听什么样的音乐？",
    sentenceHint: "江南烟雨，古筝",
    timeline: "时间线",
    examples: "例子",
    bars: "小节",
    pieces: "首数",
    seed: "种子",
    dice: "换一个种子",
    advanced: "高级",
    best_of: "每首草稿数",
    temperature: "温度",
    top_k: "Top k",
    top_p: "Top p",
    tilt: "偏向强度",
    guidance_scale: "文字引导",
    strength: "计划强度",
    transpose: "移调（半音）",
    compose: "作曲",
    cancel: "取消",
    welcome: "写一句话，点“作曲”。也可以把 MIDI 文件拖到这里。",
    play: "播放或暂停（空格）",
    volume: "音量",
    zoomIn: "放大",
    zoomOut: "缩小",
    zoomFit: "显示全部",
    rollHint: "点击从那里播放，拖动选择小节",
    change: "修改",
    undo: "撤销",
    redo: "重做",
    from: "从第",
    to: "到第",
    as: "写成",
    asHint: "原来的句子，或另一句",
    again: "重写",
    after: "续写",
    before: "加前奏",
    added: "增加的小节数",
    asPlan: "用作计划",
    api: "程序接口",
    licences: "许可证",
    waiting: (n) => (n ? `前面还有 ${n} 个` : "构思中…"),
    written: (bars, total) => `已写 ${bars} / ${total} 小节`,
    draft: "草稿",
    keep: "留下这一首",
    candidate: (n) => `第 ${n} 首`,
    version: (n) => `第 ${n} 版`,
    mute: "静音",
    solo: "独奏",
    tempo: "速度",
    key: "调",
    metre: "拍号",
    length: (n) => `${n} 小节`,
    seconds: (n) => `${n} 秒`,
    addInstrument: "＋乐器",
    no: (name) => `不要${name}`,
    remove: "去掉",
    feel: "感觉",
    unkept: "做不到：",
    plan: (name) => `沿用“${name}”的计划`,
    brought: "一个 MIDI 文件",
    copy: "复制链接",
    copied: "已复制",
    zip: "全部 (ZIP)",
    page: "网页",
    shared: "作出分享的这首",
    addSection: "＋段落",
    silent: "服务器没有安装音色库，所以没有声音。",
    noRecipe: "这个文件没有说明乐曲是怎样作出的。",
    insecure: "浏览器只在本机或 https 下播放声音；可以下载 WAV。",
    major: "大调",
    minor: "小调",
    axes: {
      tempo: ["慢", "快"],
      density: ["疏", "密"],
      register: ["低", "高"],
      leaps: ["级进", "跳进"],
      sustain: ["短促", "绵长"],
      loudness: ["轻", "响"],
      mode: ["小调", "大调"],
      drums: ["无鼓", "有鼓"],
    },
  },
};

export const EXAMPLES = {
  en: [
    "A slow lullaby, high and soft",
    "A night train through snow",
    "Storm over the sea",
    "A calm piano waltz, D major",
    "Meteor shower",
    "A lazy summer afternoon, guitar, 80 bpm",
    "Epic battle, fast and loud, drums",
    "Lonely clarinet at dusk, minor",
    "Morning in the mountains, flute and harp",
    "Happy march, 120 bpm",
    "Rain on the window, sparse, strings",
    "1-4: quiet dawn | 5-8: storm",
  ],
  zh: [
    "暴风雨",
    "江南烟雨，古筝",
    "流星雨",
    "安静的摇篮曲，又高又轻",
    "雪夜列车",
    "宁静的早晨，长笛和竖琴",
    "激烈的战斗，又快又响，有鼓",
    "黄昏的单簧管，小调",
    "欢快的进行曲，120 bpm",
    "夏日午后，吉他，80 bpm",
    "窗上的雨，稀疏，弦乐",
    "1-4: 宁静的黎明 | 5-8: 暴风雨",
  ],
};

// Instruments that are one click away; any other can be written into the sentence.
export const INSTRUMENTS = [
  ["piano", "钢琴"], ["guitar", "吉他"], ["bass", "贝斯"], ["drums", "鼓"], ["strings", "弦乐"], ["violin", "小提琴"],
  ["cello", "大提琴"], ["flute", "长笛"], ["clarinet", "单簧管"], ["oboe", "双簧管"], ["trumpet", "小号"],
  ["saxophone", "萨克斯"], ["organ", "管风琴"], ["harp", "竖琴"], ["choir", "合唱"], ["music box", "八音盒"],
  ["guzheng", "古筝"], ["pipa", "琵琶"], ["erhu", "二胡"], ["dizi", "笛子"],
];

// Why something of a sentence is not kept, which the server says in English behind it, in Chinese.
const REASONS = [
  ["nobody's style is known by name", "不会模仿某人的风格"], ["no song is known by name", "不认识具体的歌曲"],
  ["lyrics and singing", "不能有歌词和演唱"], ["an effect of the sound", "不能加音效处理"],
  ["samples and recorded sounds", "不能用采样和录音"], ["a changing tempo", "速度不能渐变"],
  ["a changing loudness", "音量不能渐变"], ["a change of key", "不能转调"], ["a tuning", "不能改变调律"],
  ["a file", "不能输出这种文件"], ["its triad is taken", "只取三和弦"], ["a piece has one tempo", "一首只有一个速度"],
  ["a piece has one key", "一首只有一个调"], ["a piece has one metre", "一首只有一个拍号"],
  ["tempi are (.+) to (.+) bpm", "速度只能是每分钟 $1 到 $2 拍"], ["metres are (.+)", "拍号只能是 $1"],
  ["no track of the six is left for it", "六个声部已满"], ["(.+) plays its track", "这个声部由 $1 演奏"],
  ["its part is played by the piece's (.+)", "这个声部由原曲的 $1 演奏"], ["the bars have the piece's tempo", "速度随原曲"],
  ["the bars are in the piece's key", "调随原曲"], ["the bars have the piece's metre", "拍号随原曲"],
  ["bars (.+) are written", "只写第 $1 小节"], ["there are (.+) bars for them", "只有 $1 小节可放"],
  ["(\\d+) bars? at (.+) bpm last (.+) seconds", "$1 小节，速度 $2，共 $3 秒"],
  ["the plan alone keeps nothing but bars", "只用计划时仅保证小节数"],
].map(([english, chinese]) => [new RegExp(` \\(${english}\\)$`), `（${chinese}）`]);

// What is not kept, with the reason in the language of the page.
export function unkept(phrase) {
  const reason = language === "zh" && REASONS.find(([english]) => english.test(phrase));
  return word("unkept") + (reason ? phrase.replace(...reason).replace(/ in bars ([\d-]+)/, "，第 $1 小节") : phrase);
}

const stored = () => {
  try {
    return localStorage.getItem("language");
  } catch {
    return null;
  }
};

export let language = stored() ?? (navigator.language.startsWith("zh") ? "zh" : "en");

export const word = (name, ...values) => {
  const found = WORDS[language][name];
  return typeof found === "function" ? found(...values) : found;
};

// Puts the words of the language into everything that asks for some.
export function speak(chosen = language) {
  language = chosen;
  try {
    localStorage.setItem("language", chosen);
  } catch {
    // It is chosen for this visit only.
  }
  document.documentElement.lang = chosen === "zh" ? "zh-CN" : "en";
  for (const node of document.querySelectorAll("[data-word]")) node.textContent = word(node.dataset.word);
  for (const node of document.querySelectorAll("[data-hint]")) node.placeholder = word(node.dataset.hint);
  for (const node of document.querySelectorAll("[data-title]")) {
    node.title = word(node.dataset.title);
    node.setAttribute("aria-label", node.title);
  }
}

// Every sentence of the page, in Chinese and English. `{0}` is an argument; `{0@s}` formats it as a size, `{0@t}` as
// seconds, `{0@d}` as a date, `{0@w}` as a date with its time, and `{0:picture:pictures}` chooses by number.

export type Language = 'zh' | 'en';

const WORDS = {
  name: ['暗房', 'Darkroom'],
  otherLanguage: ['English', '中文'],
  switchLanguage: ['Switch to English', '切换到中文'],
  lightOn: ['开灯（浅色）', 'Lights on (light theme)'],
  lightOff: ['关灯（深色）', 'Lights off (dark theme)'],
  loading: ['正在加载…', 'Loading…'],
  brokenConfig: ['页面配置 config.json 无法读取。', 'The page’s config.json cannot be read.'],

  // Sign-in
  signIn: ['登录', 'Sign in'],
  signInLead: ['登录后即可生成图片、查看历史', 'Make pictures and find your history again'],
  signInAgain: ['登录已过期', 'Your session has ended'],
  signInAgainLead: ['重新登录后会继续刚才的生成，内容都还在。', 'Sign in again and your request goes on. Nothing is lost.'],
  email: ['邮箱', 'E-mail'],
  password: ['密码', 'Password'],
  code: ['邮件中的验证码', 'Code from the e-mail'],
  sendCode: ['发送验证码', 'Send a code'],
  useCode: ['改用邮件验证码', 'Use a code by e-mail'],
  usePassword: ['改用密码', 'Use a password'],
  codeSent: ['验证码已发送至 {0}', 'A code was sent to {0}'],
  wrongSignIn: ['邮箱或密码不正确', 'The e-mail or password is wrong'],
  wrongCode: ['验证码不正确或已过期', 'The code is wrong or has expired'],
  signInBusy: ['尝试过于频繁，请稍后再试', 'Too many attempts. Try again in a minute'],
  signInDown: ['暂时无法登录，请稍后再试', 'Sign-in is not available right now. Try again shortly'],
  demoUser: ['演示用户，密码 {0}', 'Demo user, password {0}'],
  signOut: ['退出登录', 'Sign out'],
  account: ['账户', 'Account'],
  signOutNote: ['退出会删除此浏览器中保存的提示词和照片', 'Signing out deletes the prompts and photos kept in this browser'],

  // Limits
  callsLeft: ['还可生成 {0} / {1} 次', '{0} of {1} calls left'],
  creditsLeft: ['{0} 积分', '{0} {0:credit:credits}'],

  // The form
  compose: ['创作', 'Create'],
  mode: ['方式', 'Mode'],
  fromWords: ['文字生成', 'From words'],
  faceSwap: ['照片换脸', 'Face swap'],
  referencePhotos: ['参考照片', 'Reference photos'],
  facePhotos: ['照片', 'Photos'],
  optional: ['可选', 'optional'],
  addPhoto: ['添加照片', 'Add a photo'],
  dropHint: ['拖放、粘贴或选取', 'Drop, paste or pick'],
  trayFull: ['已满', 'Full'],
  photosOf: ['{0} / {1}', '{0} / {1}'],
  removePhoto: ['移除照片 {0}', 'Remove photo {0}'],
  photoAlt: ['照片 {0}', 'Photo {0}'],
  preparing: ['正在缩小…', 'Scaling down…'],
  shrunk: ['{0} → {1}', '{0} → {1}'],
  linkPhoto: ['链接', 'Link'],
  tooManyPhotos: ['最多 {0} 张照片，其余未添加', 'At most {0} photos. The others were not added'],
  tooManyFaces: ['照片和链接一共最多 {0} 个', 'At most {0} photos and links together'],
  notAPhoto: ['“{0}”不是图片', '“{0}” is not a picture'],
  photoLinks: ['照片链接', 'Photo links'],
  linksHint: ['每行一个 https 链接', 'One https link per line'],
  badLink: ['第 {0} 行不是 https 链接', 'Line {0} is not an https link'],
  needPhoto: ['请添加至少一张照片或一个链接', 'Add at least one photo or link'],
  prompt: ['提示词', 'Prompt'],
  promptHint: ['描述画面：主体、光线、镜头、氛围…', 'Describe the picture: subject, light, lens, mood…'],
  facePromptHint: ['留空则使用默认提示词', 'Leave empty for the default prompt'],
  needPrompt: ['请写下想要的画面', 'Write what the picture should show'],
  promptTooLong: ['提示词最多 {0} 个字符', 'The prompt may have {0} characters at most'],
  promptCount: ['{0} / {1}', '{0} / {1}'],
  aspectRatio: ['画幅', 'Aspect ratio'],
  ratioAuto: ['自动', 'Auto'],
  count: ['张数', 'Pictures'],
  model: ['模型', 'Model'],
  generate: ['生成', 'Generate'],
  generating: ['生成中…', 'Generating…'],
  waiting: ['{0} 秒后可生成', 'Wait {0} s'],
  shortcut: ['{0} ↵', '{0} ↵'],

  // The run
  strip: ['当前生成', 'Current run'],
  readyTitle: ['写下一句话，\n看它慢慢显影。', 'Write a line.\nWatch it develop.'],
  readyLead: ['画面会随着数据的到达，一行一行地显现。', 'The picture appears row by row, while its bytes arrive.'],
  tryOne: ['试试看', 'Try one'],
  example1: ['雨夜的上海弄堂，霓虹倒影，35mm 胶片', 'A Shanghai lane in the rain, neon reflections, 35mm film'],
  example2: ['清晨薄雾中的茶园，逆光，一位采茶人', 'A tea garden in morning mist, backlight, one picker'],
  example3: ['窗边的橘猫，午后暖光，柔和虚化', 'An orange cat by the window, warm afternoon light, soft blur'],
  stateReady: ['就绪', 'Ready'],
  stateRunning: ['正在显影', 'Developing'],
  stateFollowing: ['正在恢复', 'Recovering'],
  stateDone: ['完成', 'Done'],
  stateFailed: ['未完成', 'Not finished'],
  stateCancelled: ['已取消', 'Cancelled'],
  stages: ['进度', 'Progress'],
  stageConnect: ['连接', 'Connect'],
  stageAccept: ['受理', 'Accept'],
  stageMake: ['生成', 'Create'],
  stageReceive: ['接收', 'Receive'],
  stageDone: ['完成', 'Done'],
  seconds: ['{0@t} 秒', '{0@t} s'],
  sayConnecting: ['正在连接', 'Connecting'],
  sayAccepted: ['已受理，等待模型', 'Accepted. Waiting for the model'],
  sayMaking: ['模型正在生成', 'The model is at work'],
  sayUsual: ['通常需要 20–60 秒', 'This usually takes 20–60 s'],
  sayReceiving: ['正在接收图片 {0} / {1}', 'Receiving picture {0} of {1}'],
  sayRetry: ['服务繁忙，{0} 秒后第 {1} 次尝试', 'The service is busy. Attempt {1} follows in {0} s'],
  sayResumed: ['连接断了。生成仍在继续，正在取回结果', 'The connection was lost. The work goes on, and its result is being fetched'],
  sayReloaded: ['页面已重新加载，正在取回这次生成', 'The page was reloaded. This generation is being fetched'],
  sayDone: ['{0} 张图片，用时 {1@t} 秒', '{0} {0:picture:pictures} in {1@t} s'],
  sayPartly: ['{0} 张完成，{1} 张失败，用时 {2@t} 秒', '{0} finished and {1} failed in {2@t} s'],
  sayEnded: ['{0@t} 秒后停止', 'It stopped after {0@t} s'],
  sayLast: ['上一次请求没有完成', 'Your last request did not finish'],
  sayFailed: ['生成失败：{0}', 'The generation failed: {0}'],
  sayCancelling: ['正在取消', 'Cancelling'],
  sayCancelled: ['已取消，服务端也已停止。', 'Cancelled. The service has stopped too.'],
  sayStopped: ['已停止接收。服务端可能仍在生成，结果会出现在历史中。', 'Stopped receiving. The service may go on; see the history for its result.'],
  received: ['{0@s}', '{0@s}'],
  cancel: ['取消', 'Cancel'],
  retry: ['重试', 'Try again'],
  edit: ['修改内容', 'Edit request'],
  again: ['再来一次', 'Once more'],
  retryIn: ['{0} 秒后可重试', 'Try again in {0} s'],
  draft: ['草稿', 'Draft'],
  blankFrame: ['未曝光', 'Unexposed'],
  frame: ['第 {0} 张', 'Picture {0}'],
  frameWaiting: ['第 {0} 张，等待中', 'Picture {0}, waiting'],
  generated: ['生成的图片：{0}', 'Generated picture: {0}'],
  generatedPlain: ['生成的图片 {0}', 'Generated picture {0}'],
  modelSays: ['模型说', 'The model says'],
  requestId: ['请求编号', 'Request id'],
  taskId: ['任务编号', 'Task id'],
  errorCode: ['代码', 'Code'],
  details: ['详情', 'Details'],

  // Pictures
  download: ['下载', 'Download'],
  copy: ['复制', 'Copy'],
  copied: ['已复制图片', 'Picture copied'],
  copiedLink: ['已复制链接', 'Link copied'],
  copyFailed: ['浏览器不允许复制', 'The browser does not allow copying'],
  useAsReference: ['用作参考', 'Use as reference'],
  addedReference: ['已添加为参考照片', 'Added to the reference photos'],
  openedInTab: ['该图片只能在新标签页中打开', 'This picture can only be opened in a new tab'],
  open: ['查看', 'View'],
  close: ['关闭', 'Close'],
  previous: ['上一张', 'Previous'],
  next: ['下一张', 'Next'],
  gone: ['链接已失效', 'The link has expired'],
  pixels: ['{0} × {1}', '{0} × {1}'],
  keptUntil: ['保存至 {0@d}', 'Kept until {0@d}'],
  linkUntil: ['链接约 24 小时有效', 'Link lasts ~24 h'],
  notKept: ['未保存', 'Not kept'],
  erase: ['删除保存的图片', 'Erase the kept pictures'],
  eraseSure: ['再按一次，永久删除', 'Press again to erase permanently'],
  erased: ['图片已永久删除', 'The pictures were erased permanently'],
  eraseUnavailable: ['此服务不支持删除', 'This service cannot erase pictures'],
  eraseFailed: ['删除失败，请重试', 'The pictures were not erased. Try again'],

  // History
  history: ['历史', 'History'],
  historyEmpty: ['还没有作品', 'Nothing here yet'],
  historyEmptyLead: ['第一张图片完成后会出现在这里。', 'Your first picture will appear here.'],
  historyFailed: ['历史暂时无法读取', 'The history cannot be read right now'],
  more: ['加载更多', 'Load more'],
  refresh: ['刷新', 'Refresh'],
  cardRunning: ['生成中', 'In progress'],
  cardPictures: ['{0} 张图片', '{0} {0:picture:pictures}'],
  cardNotKept: ['{0} 张图片，未保存', '{0} {0:picture:pictures}, not kept'],
  cardErased: ['图片已过期或已删除', 'The pictures have expired or were erased'],
  routeWords: ['文字生成', 'From words'],
  routeFaces: ['照片换脸', 'Face swap'],
  at: ['{0@w}', '{0@w}'],
  whatIsKept: [
    '服务端不保存提示词和照片；提示词只留在此浏览器，退出登录即删除。标有日期的图片保存到该日期，可随时删除。',
    'The service stores no prompts and no photos. Prompts stay in this browser until you sign out. Pictures with a date are kept until then, and you can erase them.',
  ],

  // Failures: a title, and what to do. Argument 0 is the part.
  f_offline: ['网络连接失败|请检查网络后重试，不会重复扣费。', 'No connection|Check the network and try again. You are not charged twice.'],
  f_timeout: ['等待超时|可以用相同参数重试，不会重复扣费。', 'It took too long|Try again with the same settings. You are not charged twice.'],
  f_interrupted: ['连接中断，图片不完整|重试会重新生成，可能再次扣费。', 'The connection broke|The picture is incomplete. Another try makes a new one and may be charged again.'],
  f_paid: ['图片已生成，但没有保存|连接中断时它们丢失了。重试会重新生成并再次扣费。', 'The pictures were made but not kept|They were lost with the connection. Another try makes new ones and is charged again.'],
  f_session: ['登录已过期|请重新登录，内容都还在。', 'Your session has ended|Sign in again. Your request is still here.'],
  f_forbidden: ['此账户不能使用|请换一个账户登录。', 'This account is not allowed|Sign in with another account.'],
  f_limit: ['生成太频繁|稍等片刻，按钮会自动恢复。', 'Too many requests|The buttons come back by themselves in a moment.'],
  f_daily: ['今天的张数已用完|UTC 零点（北京时间 8 点）后可以继续。', 'No pictures are left today|There are more after 00:00 UTC.'],
  f_places: ['同时进行的任务太多|等其中一个完成后再试。', 'Too many generations are running|Try again when one of them has ended.'],
  f_budget: ['服务今天的总量已用完|UTC 零点（北京时间 8 点）后可以继续。', 'The service has reached its limit for today|It continues after 00:00 UTC.'],
  f_credits: ['积分不足|请充值，或减少张数。', 'Not enough credits|Add credits or ask for fewer pictures.'],
  f_content: ['内容未通过审核|请修改提示词或更换照片。', 'The content was refused|Change the prompt or use another photo.'],
  f_input: ['模型无法处理这次输入|请修改提示词或更换照片。', 'The model cannot use this input|Change the prompt or use another photo.'],
  f_photo: ['有一张照片无法使用|请换成 JPEG、PNG 或 WebP。', 'A photo cannot be used|Use JPEG, PNG or WebP.'],
  f_link: ['有一个链接无法使用|请使用公开的 https 图片链接。', 'A link cannot be used|Use public https links to pictures.'],
  f_large: ['照片太大|请减少照片数量，或换成较小的照片。', 'The photos are too large|Use fewer or smaller photos.'],
  f_model: ['此模型不可用|请选择其他模型。', 'This model is not available|Choose another model.'],
  f_request: ['请求有误|请检查填写的内容。', 'The request is not valid|Check what you entered.'],
  f_running: ['这次生成还在进行|稍后会出现在历史中。', 'This generation is still running|It will appear in the history.'],
  f_repeated: ['这次生成已经完成|再次生成请按“再来一次”。', 'This generation has finished already|Press “Once more” for a new one.'],
  f_busy: ['模型繁忙|稍后重试通常会成功。', 'The model is busy|Another try usually succeeds.'],
  f_upstream: ['模型没有完成这张图片|可以用相同参数重试。', 'The model did not finish|Try again with the same settings.'],
  f_noImage: ['模型没有返回图片|换一种说法通常会成功。', 'The model sent no picture|Another wording usually helps.'],
  f_service: ['服务暂时不可用|请稍后重试。', 'The service is not available|Try again shortly.'],
  f_protocol: ['服务器的响应无法识别|请稍后重试，或联系管理员。', 'The answer cannot be read|Try again shortly or tell the operator.'],
  f_cancelled: ['已取消|', 'Cancelled|'],
  f_left: ['连接中断，任务已停止|可以用相同参数重试。', 'The connection was lost and the task stopped|Try again with the same settings.'],
  f_unknown: ['生成失败|请重试。', 'The generation failed|Try again.'],

  // The bench of the local stack
  bench: ['工作台', 'Bench'],
  benchLead: ['仅在本地：选择模拟器的行为', 'Local only: how the simulator behaves'],
  benchShape: ['图片的发送形式', 'Shape of the answer'],
  benchFault: ['故障', 'Fault'],
  benchNone: ['默认', 'Default'],
  benchNoFault: ['无', 'None'],
  benchUser: ['用户', 'User'],
  benchOther: ['其他用户…', 'Another user…'],
  benchWord: ['用户名（小写字母和数字）', 'Name (lower-case letters and digits)'],
  benchSwitch: ['切换', 'Switch'],
  benchExpire: ['令牌过期', 'Expire the token'],
  benchEnd: ['会话失效', 'End the session'],
  benchExpired: ['令牌已换成过期的，下一次请求会先刷新', 'The token was replaced by an expired one. The next request refreshes it first'],
  benchEnded: ['会话已失效，下一次请求会要求登录', 'The session was ended. The next request asks for sign-in'],
  benchDrawn: ['模拟器画的', 'The simulator drew'],
  benchArrived: ['收到的', 'What arrived'],
  benchSame: ['一致', 'Identical'],
  benchMissing: ['未收到', 'Not received'],
  benchForeign: ['其他来源', 'From elsewhere'],
  benchUnchecked: ['无法校验', 'Cannot be checked'],
  benchNothing: ['生成后，这里并排显示模拟器画的和收到的图片。', 'After a run: the drawn pictures beside those that arrived.'],
} satisfies Record<string, [zh: string, en: string]>;

export type Word = keyof typeof WORDS;
export type Say = readonly [Word, ...(string | number)[]];

let language: Language = 'zh';
export const currentLanguage = (): Language => language;
export const locale = (): string => (language === 'zh' ? 'zh-CN' : 'en');
export function setLanguage(next: Language): void {
  language = next;
}

export function sizeOf(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  return bytes < 1e6 ? `${Math.round(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(bytes < 1e7 ? 2 : 1)} MB`;
}

const day: Intl.DateTimeFormatOptions = { month: 'short', day: 'numeric' };
const FORMATS: Record<string, (value: string | number) => string> = {
  s: (value) => sizeOf(+value),
  t: (value) => (+value).toFixed(1),
  d: (value) => new Date(value).toLocaleDateString(locale(), day),
  w: (value) => new Date(value).toLocaleString(locale(), { ...day, hour: '2-digit', minute: '2-digit', hour12: false }),
};

/** The sentence of `key` in the current language. */
export function t(key: Word, ...values: (string | number)[]): string {
  const both = WORDS[key][+(language === 'en')]!;
  const text = key.startsWith('f_') ? both.split('|')[+values[0]!]! : both;
  return text.replace(/\{(\d)(?:@(\w)|:([^:}]*):([^}]*))?\}/g, (_, index, format, one, many) => {
    const value = values[index] ?? '';
    if (one !== undefined) return +value === 1 ? one : many;
    return format ? FORMATS[format]!(value) : `${value}`;
  });
}

"""How a question is read: folded to plain simplified characters, then taken apart into what can be compared.

Two kinds of features. Character pairs carry what was really said, whatever the dialect of the writer, and need no dictionary of
words. Notions carry what is meant: people who ask when a parcel leaves write 发货, 寄出, 出库 or 发走, and none of these share a
character pair. `NOTIONS` is a small dictionary of shop language, written by hand and open to grow; record 10 says how it came
about and what it brings.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from typing import Final

from . import characters as tables

_LINK: Final = re.compile(r"https?://\S+|www\.\S+")
_NUMBER: Final = re.compile(r"\d+(?:[.,:]\d+)*")
_NOT_A_WORD: Final = re.compile(r"[\W_]+")
_CLAUSE: Final = re.compile(r"[\s,.!?;:~、，。！？；：～…]+")
# Shorter ones say nothing by themselves, and of a long letter the end is what was meant.
LEAST_CLAUSE, MOST_CLAUSES = 4, 12
_BETWEEN: Final = re.compile(r"(?<=[\u4e00-\u9fff]) (?=[\u4e00-\u9fff])")

NOTIONS: Final[dict[str, tuple[str, ...]]] = {
    name: tuple(forms.split())
    for name, forms in {
        "when": (
            "什么时候 啥时候 什么时间 何时 几时 几点 哪天 几号 多久 多长时间 多少天 几天 多会 "
            "时间 好久 啥时 多少时间 几个小时 多少小时 几个工作日"
        ),
        "howlong": "多久 多长时间 多少天 几天 好久 周期 多少时间 几个工作日 多少小时 几个小时 时效",
        "where": "哪里 哪儿 在哪 哪个 那里 那儿 何处 什么地方 到哪 去哪",
        "how": "怎么 怎样 如何 咋 怎麽 怎么样 怎么弄 流程 步骤 操作 方法",
        "can": "可以 能 能不能 可不可以 行不行 可否 能否 是否 支持",
        "why": "为什么 为啥 怎么回事 咋回事 什么原因 什么情况 为何 什么意思",
        "ship": "发货 发出 出库 寄出 发走 寄走 发件 出货 发了 没发 不发 配货 打包 发吗 可以发 能发 才发",
        "deliver": (
            "送到 送达 到货 配送 派送 送货 收到货 能到 可以到 到吗 送吗 送来 派件 几天到 多久到 才到 会到 到达 送完"
        ),
        "track": "物流 快递 单号 运单 包裹 到哪了 跟踪 查询 货到哪 位置 轨迹 进度 信息 更新 走到哪",
        "carrier": "圆通 申通 中通 韵达 顺丰 邮政 ems 京东快递 德邦 天天快递 百世",
        "refund": "退款 退钱 退回钱 返款 退的钱 钱退 退还 退费 退 返钱 返还 到账 原路 打回",
        "account": "银行卡 微信 支付宝 零钱 余额 账户 卡里 卡上 钱包 原路 信用卡 白条 账号",
        "arrived": "到账 到帐 没到 没收到钱 收到退款 未到账",
        "return": "退货 退回 寄回 退换 返回 寄过去 退掉 退了 寄给你 寄回去 退的货 退给",
        "exchange": "换货 更换 换一个 换新 调换 换一下 退换 换吗",
        "repair": "返修 维修 修 保修 售后 质保 三包 检测 修理",
        "warranty": "保修 质保 保质 保修期 质保期 三包 联保 包换 几年 一年 两年 有效期",
        "expire": "保质期 有效期 过期 到期 临期 保存 质保期 日期",
        "made": "生产日期 日期 生产 出厂 新鲜 批次 什么时候生产 几月",
        "cancel": "取消 不要 不想要 撤销 撤消 撤回 取消了 不买 不退 关闭",
        "apply": "申请 提交 办理 操作",
        "order": "订单 单子 定单 下单 拍 买的 购买",
        "modify": "修改 改 更改 变更 换个 改一下 改成 填错 写错 选错 改下",
        "address": "地址 收货地址 收件人 电话 手机号 联系方式 地方 姓名",
        "backaddr": "寄到哪 寄回 退货地址 地址发 地址是 寄哪 返回地址 地址给 发哪",
        "merge": "合并 一起 一并 同时 一块 凑 拼 一次",
        "note": "备注 留言 注明 写上 写明 说明",
        "color": "颜色 白色 黑色 红色 蓝色 粉色 款式 尺码 规格",
        "invoice": "发票 开票 票 普票 专票 增值税 税号 抬头 专用发票 收据",
        "einvoice": "电子发票 电子版 电子 下载 邮箱 打印 pdf 发到",
        "missinv": "补发票 补开 没有发票 没发票 没收到发票 发票没 重开 补一张 后补 忘了开 忘记开 换开",
        "coupon": "优惠券 优惠卷 券 卷 代金 抵用 红包 满减 卷儿 东券 京券 优惠劵 劵",
        "use": "使用 用 用不了 不能用 抵扣 用的 叠加 可用 用吗 适用",
        "get": "领取 领 获得 获取 怎么领 哪里领 得到 给我 送我 发放 有没有 拿到",
        "giveback": "退回 返还 退还 还给 还会 还我 返 退给我 返回 还在",
        "activity": "活动 优惠 促销 满减 打折 降价 特价 双11 双十一 618 秒杀 折扣 便宜 力度 搞活动 折 满 送",
        "gift": "赠品 礼物 礼品 送的 赠送 赠 附赠 配送的",
        "price": "价格 降价 差价 价保 保价 便宜 涨价 贵 掉价 补差 差额 跌价 降了",
        "pprotect": "价保 保价 价格保护 差价 补差价 退差价 补差 降价了",
        "pay": "支付 付款 付钱 付 刷卡 分期 花呗 白条 支付宝 微信支付 银联 转账 货款 结算",
        "cod": "货到付款 到付 收到货付款 收货付款 货到 到货付款 先收货",
        "genuine": "正品 真货 假货 真的 正货 真假 假的 行货 原装 官方 专柜 验证 防伪 正版 保真 翻新",
        "damage": "破损 坏 碎 破 裂 烂 压坏 漏 损坏 摔 变形 磕 瘪 碎了 洒 破了 坏了 划痕 撒",
        "missing": "少 缺 漏发 没有 少了 少发 缺少 没看到 没有收到 不见 落下 配件 差一 没给",
        "wrong": "发错 错 不对 不是我 不一样 不符 错了 错误 搞错 不一致 送错 寄错",
        "resend": "补发 重发 补寄 重新发 再发 补一个 补给 重新寄 再寄 补上 补送",
        "reject": "拒收 拒签 不收 拒绝 不签收 拒接",
        "proxy": (
            "代收 代签 帮我收 门卫 保安 快递柜 丰巢 自提柜 别人 驿站 菜鸟 物业 前台 代领 放在 家人 朋友 邻居 本人 签收"
        ),
        "pickup": "自提 自取 自己去 自己取 自己拿 去拿 自己提 去取 上门自提 提货 来取",
        "pickhome": "上门取件 上门 取件 来取 揽收 取货 来拿",
        "freight": "运费 邮费 邮 快递费 包邮 运费险 路费",
        "insurance": "运费险 保险 险 退货险 理赔 赔付",
        "whopays": "谁出 谁付 谁承担 我出 承担 我付 你们出 自己出 报销 出运费 补运费 我自己 免费",
        "review": "评价 晒单 评论 好评 追评 晒图 京豆 写评价 评",
        "human": "人工 客服 电话 联系 转人工 在吗 热线 真人 有人吗 联系方式 怎么联系 打电话 售后电话",
        "speed": "慢 快点 着急 催 急 尽快 赶紧 快些 加急 还没 一直 怎么还 迟迟 这么久",
        "normal": "审核 处理 进度 通过 等 工作日 正常",
        "notyet": "没有到 还没 没收到 未 怎么还没 还没有 一直没 没到 没有收到",
        "bean": "京豆 豆 积分",
        "today": "今天 明天 后天 下午 晚上 早上 今晚 当天 次日 周末 上午 现在",
        "wherefrom": "从哪 哪里发 发货地 仓库 哪个仓 哪发",
        "shop": "店铺 店 旗舰店 第三方 自营 商家 卖家",
        "defect": "质量 问题 不好用 故障 坏 不能用 毛病 瑕疵 用不了 打不开 没反应",
        "days7": "7天 七天 15天 三十天 30天 无理由 天内 包退",
    }.items()
}


def plain(text: str) -> str:
    """A text in plain characters: full width to plain, lower case, traditional to simplified. Numbers and signs stay."""
    return unicodedata.normalize("NFKC", text).lower().translate(tables.SIMPLER)


def fold(text: str) -> str:
    """A question as it is compared: in plain characters, a link and a number each one sign, punctuation and pictures a
    single blank."""
    counted = _NUMBER.sub("0", _LINK.sub("链", plain(text)))
    return _NOT_A_WORD.sub(" ", counted).strip()


def clauses(text: str) -> list[str]:
    """What a text says one after the other, where it says more than one thing; else nothing."""
    found = [part for part in _CLAUSE.split(text) if len(fold(part)) >= LEAST_CLAUSE]
    return found[-MOST_CLAUSES:] if len(found) > 1 else []


def characters(folded: str) -> list[str]:
    """The characters and the pairs of neighbours, each once, in the order of the text."""
    pairs = (folded[i : i + 2] for i in range(len(folded) - 1))
    return list(dict.fromkeys([*folded, *pairs]))


def _by_sound() -> dict[str, list[tuple[str, str]]]:
    found = defaultdict(list)
    for name, forms in NOTIONS.items():
        for form in forms:
            as_heard = form if len(form) == 1 else tables.heard(form)
            found[as_heard[:2]].append((as_heard, name))
    return dict(found)


_FORMS: Final = _by_sound()


def notions(folded: str) -> list[str]:
    """The notions that a text names, and each two of them together: 退款 with 多久 asks something else than 退款 with 哪里.

    A form of several characters is found by its sound, for most slips of a Chinese keyboard keep that; one of a single
    character only as it is written.
    """
    named = {name for one in set(folded) for _form, name in _FORMS.get(one, ())}
    sounds = tables.heard(folded)
    for i in range(len(sounds) - 1):
        named.update(name for form, name in _FORMS.get(sounds[i : i + 2], ()) if sounds.startswith(form, i))
    ordered = sorted(named)
    return [*ordered, *(f"{one}+{other}" for i, one in enumerate(ordered) for other in ordered[i + 1 :])]


def features(text: str) -> tuple[list[str], list[str]]:
    """Both kinds of features of a question. Blanks between Chinese characters say nothing: some write one after each."""
    folded = _BETWEEN.sub("", fold(text))
    return characters(folded), notions(folded)
